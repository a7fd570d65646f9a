"""`vitrail.predict` and `vitrail.features`: what a model says of images."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from typing_extensions import TypeIs

from vitrail.arguments import checked
from vitrail.data.loader import Loader
from vitrail.data.pairs import DataSource, names_dataset, open_split
from vitrail.data.registry import Split
from vitrail.errors import ConfigError, check_range
from vitrail.hub.fitting import require_labels
from vitrail.manifest import trusting
from vitrail.messages import _
from vitrail.methods.base import Method
from vitrail.models.base import Backbone
from vitrail.models.limits import LARGEST
from vitrail.models.outputs import Outputs, Target
from vitrail.train.console import progress_bar
from vitrail.train.evaluator import compute_features
from vitrail.train.inference import (
    Images,
    ModelSource,
    classifier,
    classifying_method,
    open_model,
    prepare,
    read_images,
)
from vitrail.train.stream_factory import frame
from vitrail.values import PositiveInt, Size


class Prediction(NamedTuple):
    """The likeliest classes of an image, all of its labels, or its numbers.

    Args:
        image: its path, or its number.
        classes: probabilities by class name, the likeliest first; a second class of the same name
            is called "crane (class 517)", by its index; of several labels, of those that
            reach their threshold; of numbers, the numbers by name.
        target: "class", "labels" or "numbers".

    Example:
        >>> Prediction("cat.jpg", {"cat": 0.9, "dog": 0.1}).label
        'cat'
    """

    image: str
    classes: dict[str, float]
    target: Target = "class"

    @property
    def label(self) -> str:
        """The likeliest class; "" for an image without labels."""
        return next(iter(self.classes), "")


class PooledFeatures(NamedTuple):
    """Pooled features of images, the input of a model's head.

    Args:
        features: (N, D).
        targets: (N,), class indices; None for images without labels.
        names: path or name of each image.
        labels: class names.

    Example:
        >>> PooledFeatures(torch.zeros(1, 8), None, ["cat.jpg"], []).names
        ['cat.jpg']
    """

    features: Tensor
    targets: Tensor | None
    names: list[str]
    labels: list[str]


@checked
def predict(
    model: ModelSource,
    images: Images,
    *,
    labels: Sequence[str] | None = None,
    top: int = 3,
    image_size: Size | None = None,
    precision: Literal["auto", "fp32", "bf16"] = "fp32",
    bad_images: Literal["raise", "skip"] = "raise",
    batch_size: int = 32,
    flip: bool = False,
    device: str | torch.device | None = None,
    trust: bool = False,
) -> list[Prediction]:
    """Names the likeliest classes of images, as `vitrail predict` does.

    Args:
        model: a model, which runs on its device; a `TrainingRun`; a run, a model folder or a Hub
            id.
        images: one or several: paths of files and folders, patterns, Pillow images, uint8 tensors
            (C, H, W).
        labels: class names to select from, for a run or Hub id of CLIP; None for the model's own.
        top: number of classes per image.
        image_size: pixels, one number for all axes or one per axis; None for the model's own.
        precision: "fp32", "bf16", or "auto" for the faster of them.
        bad_images: "raise" for an error at an unreadable image, "skip" to list it on stderr.
        batch_size: images per batch.
        flip: whether to average the probabilities of each image and its mirror image.
        device: "cpu", "cuda", "cuda:1", "mps" ...; None for the device of a model, and the GPU, if
            there is one, for what is loaded.
        trust: whether to read a model whose files are not as they were written, see `vitrail.load`.

    Returns:
        One prediction per image, in the order of `images`.

    Raises:
        VitrailError: the model does not classify, or images are missing or unreadable.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=1, mlp_dim=8)
        >>> model.labels = ["cat", "dog"]
        >>> [prediction] = vitrail.predict(model, torch.zeros(3, 9, 9, dtype=torch.uint8))
        >>> prediction.label in ("cat", "dog")
        True
    """
    predictor = Predictor(
        model,
        labels=labels,
        image_size=image_size,
        precision=precision,
        flip=flip,
        device=device,
        trust=trust,
    )
    return list(predictor(images, top=top, bad_images=bad_images, batch_size=batch_size))


class Predictor:
    """Names the likeliest classes of images, as they are read.

    Args:
        model: a model, which runs on its device; a `TrainingRun`; a run, a model folder or a Hub
            id.
        weights: package that holds the weights; None for the model's own.
        labels: class names to select from, for a run or Hub id of CLIP; None for the model's own.
        image_size: pixels, one number for all axes or one per axis; None for the model's own.
        precision: "fp32", "bf16", or "auto" for the faster of them, measured on the first batch.
        flip: whether to average the probabilities of each image and its mirror image.
        device: "cpu", "cuda", "cuda:1", "mps" ...; None for the device of a model, and the GPU, if
            there is one, for what is loaded.
        trust: whether to read a model whose files are not as they were written, see `vitrail.load`.

    Raises:
        VitrailError: the model cannot be loaded, or does not classify.

    Example:
        >>> predictor = Predictor(vitrail.ViT(8, 4, 2, 8, 1, 2, 8))
        >>> black = torch.zeros(3, 9, 9, dtype=torch.uint8)
        >>> [list(prediction.classes) for prediction in predictor([black, black], top=2)][1]
        ['...', '...']
    """

    @checked
    def __init__(
        self,
        model: ModelSource,
        *,
        weights: str | None = None,
        labels: Sequence[str] | None = None,
        image_size: Size | None = None,
        precision: Literal["auto", "fp32", "bf16"] = "fp32",
        flip: bool = False,
        device: str | torch.device | None = None,
        trust: bool = False,
    ) -> None:
        if labels is not None and (len(labels) < 2 or not all(labels)):
            raise ConfigError(f"labels={list(labels)!r} needs two names at least.")
        self.method: Method | None = None
        with trusting(trust):
            self.backbone = open_model(model, weights=weights, image_size=image_size, device=device)
            if labels is not None or not self.backbone.num_classes:
                self.method = classifying_method(weights or model, labels)
        if labels is not None:
            self.backbone.labels = list(labels)  # which the method reads
        if self.method is None:
            require_labels(self.backbone, self.backbone.num_classes)
        self.labels = _distinct(
            self.backbone.labels or [str(i) for i in range(self.backbone.num_classes)]
        )
        self.target = self.backbone.outputs.target if self.method is None else "class"
        self.precision, self.flip = precision, flip
        self._module: nn.Module | None = None

    @checked
    def __call__(
        self,
        images: Images,
        *,
        top: int = 3,
        bad_images: Literal["raise", "skip"] = "raise",
        batch_size: int = 32,
    ) -> Iterator[Prediction]:
        """Reads images and names their likeliest classes.

        Args:
            images: one or several: paths of files and folders, patterns, Pillow images, uint8
                tensors (C, H, W).
            top: number of classes per image.
            bad_images: "raise" for an error at an unreadable image, "skip" to list it on stderr.
            batch_size: images per batch.

        Yields:
            One prediction per image, in the order of `images`.

        Raises:
            VitrailError: images are missing or unreadable.
        """
        check_range("top", top, 1)
        check_range("batch_size", batch_size, 1, LARGEST)
        for names, crops in batches(self.backbone, images, bad_images, batch_size):
            for name, row in zip(names, self.probabilities(crops), strict=True):
                order = (
                    range(len(row)) if self.target == "numbers" else row.argsort(descending=True)
                )
                values = {self.labels[i]: float(row[i]) for i in order}
                if self.target == "class":
                    values = dict(islice(values.items(), min(top, len(values))))
                elif self.target == "labels":
                    predicted = self.backbone.outputs.predicted_labels(row[None])[0]
                    has = {self.labels[i] for i in predicted.nonzero().flatten()}
                    values = {label: value for label, value in values.items() if label in has}
                yield Prediction(name, values, self.target)

    @torch.inference_mode()
    def probabilities(self, crops: Tensor) -> Tensor:
        """crops, as the model's preprocess makes them → (B, classes), or numbers, on the CPU."""
        if self._module is None:
            backbone = prepare(self.backbone, self.precision, crops)
            self._module = classifier(backbone, self.method)
        device = next(self.backbone.parameters()).device
        preprocess, module, crops = self.backbone.preprocess, self._module, crops.to(device)
        outputs = Outputs(self.target)
        probabilities = outputs.activate(preprocess.apply(module, crops).float())
        if self.flip:
            mirrored = outputs.activate(preprocess.apply(module, crops.flip(-1)).float())
            probabilities = (probabilities + mirrored) / 2
        return probabilities.cpu()


def _distinct(labels: Sequence[str]) -> list[str]:
    """Names as keys: of two classes with one name, as ImageNet has, the second has its index."""
    first = {label: index for index, label in reversed([*enumerate(labels)])}
    return [
        label if first[label] == index else f"{label} (class {index})"
        for index, label in enumerate(labels)
    ]


@checked
def features(
    model: ModelSource,
    images_or_data: Images | DataSource,
    *,
    split: Split | None = None,
    layer: int | None = None,
    limit: PositiveInt | None = None,
    image_size: Size | None = None,
    bad_images: Literal["raise", "skip"] = "raise",
    batch_size: int = 64,
    workers: int = 0,
    device: str | torch.device | None = None,
    trust: bool = False,
) -> PooledFeatures:
    """Pooled features of images, the input of the model's head.

    Args:
        model: a model, which runs on its device; a `TrainingRun`; a run, a model folder or a Hub
            id.
        images_or_data: images as `vitrail.predict` takes them, or the name of a dataset or a
            dataset of Vitrail.
        split: of a dataset, "train", "val", "test" or "all"; None for "test" if there is one, "val"
            if not, and otherwise "all".
        layer: features after so many blocks and the last norm; None for all.
        limit: of a dataset, number of samples, evenly over the classes; None for all.
        image_size: pixels, one number for all axes or one per axis; None for the model's own.
        bad_images: "raise" for an error at an unreadable image, "skip" to leave it out.
        batch_size: images per batch.
        workers: of a dataset, number of processes that read samples; 0 reads them in this one.
        device: "cpu", "cuda", "cuda:1", "mps" ...; None for the device of a model, and the GPU, if
            there is one, for what is loaded.
        trust: whether to read a model whose files are not as they were written, see `vitrail.load`.

    Returns:
        The features on the CPU in float32, in the order of the images, with their names and, of a
        labelled dataset, their classes.

    Raises:
        VitrailError: the model has no such layer, or images are missing or unreadable.

    Example:
        >>> model = vitrail.ViT(8, 4, 10, dim=16, depth=2, heads=2, mlp_dim=8, channels=1)
        >>> digits = vitrail.features(model, "digits", limit=20, layer=1)
        >>> digits.features.shape, digits.targets.shape
        (torch.Size([20, 16]), torch.Size([20]))
    """
    check_range("batch_size", batch_size, 1, LARGEST)
    with trusting(trust):
        backbone = open_model(model, image_size=image_size, layer=layer, device=device)
    if not _is_dataset(images_or_data):
        names: list[str] = []
        pooled: list[Tensor] = []
        device = next(backbone.parameters()).device
        for batch, crops in batches(backbone, images_or_data, bad_images, batch_size):
            with torch.inference_mode():
                outputs = backbone.preprocess.apply(
                    lambda images: backbone.pool(backbone.features(images)), crops.to(device)
                )
            pooled.append(outputs.float().cpu())
            names += batch
        return PooledFeatures(torch.cat(pooled).clone(), None, names, [])
    with progress_bar(_("reading images")) as progress:
        _split, dataset = open_split(
            images_or_data, split, bad_images=bad_images, limit=limit, progress=progress
        )
    dataset = dataset.for_input(backbone.preprocess)
    loader = Loader(dataset, batch_size, frame(backbone.preprocess), workers=workers)
    with progress_bar(_("features")) as progress:
        outputs, targets, indices = compute_features(
            backbone, loader, backbone.preprocess, progress
        )
    return PooledFeatures(
        outputs,
        targets if dataset.labels else None,
        [dataset.name(index) for index in indices.tolist()],
        dataset.labels,
    )


def batches(
    backbone: Backbone,
    images: Images,
    bad_images: str,
    batch_size: int,
) -> Iterator[tuple[list[str], Tensor]]:
    """Reads images in batches.

    Args:
        backbone: the model whose `preprocess` crops them.
        images: as `read_images` takes them.
        bad_images: "raise" or "skip".
        batch_size: images per batch, of which the last may have fewer.

    Yields:
        Names of the images, and uint8 (B, C, H, W).

    Example:
        >>> black = torch.zeros(3, 9, 9, dtype=torch.uint8)
        >>> model = vitrail.ViT(8, 4, 2, 8, 1, 2, 8)
        >>> [len(names) for names, crops in batches(model, [black] * 3, "raise", 2)]
        [2, 1]
    """
    iterator = read_images(backbone.preprocess, images, bad_images)
    while batch := list(islice(iterator, batch_size)):
        yield [name for name, _crop in batch], torch.stack([crop for _name, crop in batch])


def _is_dataset(value: object) -> TypeIs[DataSource]:
    """Whether it names a dataset, or is one of Vitrail; all else are images."""
    return names_dataset(value) if isinstance(value, str) else hasattr(value, "read_batch")
