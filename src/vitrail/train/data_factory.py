"""From settings to datasets and streams of batches."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from accelerate import PartialState
from torch import Tensor

from vitrail.data.captions import Captions
from vitrail.data.dataset import Dataset
from vitrail.data.joined import with_labels
from vitrail.data.loader import Fit, Loader, canvas
from vitrail.data.own_transforms import own_transforms
from vitrail.data.registry import open_parts, prepared
from vitrail.data.splits import SPLITS, Parts, balanced, split_fold, split_off
from vitrail.data.transforms import MultiCrop, TrainTransform
from vitrail.errors import ConfigError, DataError, VitrailError
from vitrail.messages import _
from vitrail.methods.base import Method
from vitrail.methods.frozen import BATCH_NORMS
from vitrail.methods.registry import get_method
from vitrail.preprocess import Preprocess
from vitrail.train.config import RunConfig
from vitrail.train.evaluator import Evaluator, compute_features
from vitrail.train.monitor import note, progress_bar
from vitrail.train.streams import (
    BatchTransform,
    FeatureStream,
    ImageStream,
    Stream,
    evaluation_transform,
    training_transform,
)

Progress = Callable[[int, int], None]


class Datasets(NamedTuple):
    """Samples to learn from, and samples to evaluate on.

    Args:
        train: training samples.
        validation: samples that epochs are judged by; None where there are none.
        test: samples that the trained weights are judged by, once; None where there are none.

    Example:
        >>> Datasets._fields
        ('train', 'validation', 'test')
    """

    train: Dataset
    validation: Dataset | None = None
    test: Dataset | None = None

    @property
    def held_out(self) -> Dataset:
        """Samples that are not learned from: for validation or else for the test."""
        dataset = self.test if self.validation is None else self.validation
        assert dataset is not None, "`open_datasets` sees to it"
        return dataset

    @property
    def splits(self) -> dict[str, Dataset]:
        """The samples by the name of their split, "train", "val" or "test"."""
        named = zip(SPLITS, self, strict=True)
        return {split: dataset for split, dataset in named if dataset is not None}


# Arguments of `open_dataset` and the settings that they come from, for errors.
SETTINGS = {"bad_images=": "data.bad_images=", "stream_limit": "data.limit"}


def open_datasets(
    config: RunConfig, progress: Progress | None = None, parts: Parts | None = None
) -> Datasets:
    """Opens and checks what `config.data` names.

    Where there is no validation split, one is held out of the training samples.

    Args:
        config: the settings.
        progress: called with (done, total) while files are checked.
        parts: the splits, in place of what the settings name.

    Returns:
        Training samples, and those to evaluate on, with the classes of the training samples.

    Raises:
        ConfigError: the method needs labels and there are none, or there is nothing to evaluate on.
        DataError: something is missing or unreadable, or a split has classes of its own.

    Example:
        >>> from vitrail.train.config import make_config
        >>> datasets = open_datasets(make_config({"data": {"source": "digits", "limit": 50}}))
        >>> {split: len(dataset) for split, dataset in datasets.splits.items()}
        {'train': 50, 'val': 285, 'test': 355}
    """
    data = config.data
    try:
        parts = open_parts(data.source) if parts is None else parts
        opened = {
            split: prepared(
                part(), bad_images=data.bad_images, stream_limit=data.limit, progress=progress
            )
            for split, part in parts.items()
        }
        datasets = _arrange(config, opened)
    except DataError as problem:
        message = str(problem)
        for argument, setting in SETTINGS.items():
            message = message.replace(argument, setting)
        raise DataError(message) from None
    _check_labels(config, datasets.train)
    if data.limit is not None and not datasets.train.streamed:
        datasets = datasets._replace(train=balanced(datasets.train, data.limit))
    return datasets


def run_parts(config: RunConfig, progress: Progress | None = None) -> Parts:
    """The splits of the data of a run, as they are in training.

    Args:
        config: its settings.
        progress: called with (done, total) while files are checked.

    Returns:
        Functions that return datasets, by "train", "val" and "test". They tell on stderr if the
        samples are not those of the training any more.

    Raises:
        DataError: something is missing.

    Example:
        >>> from vitrail.train.config import make_config
        >>> parts = run_parts(make_config({"data": {"source": "digits"}}))
        >>> {split: len(part()) for split, part in parts.items()}
        {'train': 1157, 'val': 285, 'test': 355}
    """
    data, parts = config.data, open_parts(config.data.source)
    arranged = functools.cache(lambda: open_datasets(config, progress, parts).splits)

    def open_one(split: str) -> Dataset:
        stored = split in parts and split != "train" and not (split == "test" and data.folds)
        dataset = parts[split]() if stored else arranged().get(split)
        if dataset is None:
            raise DataError(f"{data.source} is streamed, and no {split} split is held out of it.")
        for remark in changed_samples(config, {split: dataset}):
            note(remark)
        return dataset

    names = [s for s in SPLITS if s in parts or (s == "val" and data.validation != 0)
             or (s == "test" and data.folds is not None)]  # fmt: skip
    return {split: functools.partial(open_one, split) for split in names}


def digests(datasets: Mapping[str, Dataset]) -> dict[str, str]:
    """What a run notes of its samples, by which changed data are noticed.

    Args:
        datasets: its splits.

    Returns:
        The number of samples and a hash of their keys and labels, by split.

    Example:
        >>> digests({"test": open_parts("digits")["test"]()})["test"][:10]
        '355 x f296'
    """
    return {s: f"{len(dataset)} x {dataset.digest()[:32]}" for s, dataset in datasets.items()}


def changed_samples(config: RunConfig, datasets: Mapping[str, Dataset]) -> list[str]:
    """Which splits hold other samples than when a run began.

    Args:
        config: settings of the run, with the digests that it noted.
        datasets: splits as they are now.

    Returns:
        A sentence per split.

    Example:
        >>> from vitrail.train.config import make_config
        >>> config = make_config({"data": {"source": "digits", "digests": {"test": "300 x 1234"}}})
        >>> changed_samples(config, {"test": open_parts("digits")["test"]()})
        ['digits: the test images are not those of the run: 300 then, 355 now.']
    """
    noted, remarks = config.data.digests, []
    for split, digest in digests({s: d for s, d in datasets.items() if s in noted}).items():
        if digest != noted[split]:
            text = _(
                "{source}: the {split} images are not those of the run: {before} then, {now} now."
            )
            before, now = noted[split].split()[0], digest.split()[0]
            text = text.format(source=config.data.source, split=split, before=before, now=now)
            remarks.append(text)
    return remarks


def _arrange(config: RunConfig, opened: Mapping[str, Dataset]) -> Datasets:
    """Training, validation and test samples, which are held out where there are none."""
    data = config.data
    train, validation, test = (opened.get(split) for split in SPLITS)
    if train is None:
        raise DataError(
            f"{data.source} has no training split: it has {', '.join(map(repr, opened))}."
        )
    if data.folds is not None:
        if data.fold > data.folds:
            raise ConfigError(f"data.fold={data.fold} is more than data.folds={data.folds}.")
        train, test = split_fold(train, data.fold, data.folds)
    if validation is None and data.validation != 0 and not (train.streamed and test is not None):
        train, validation = split_off(train, data.validation)
    elif data.validation and "val" in opened:
        raise ConfigError(
            f"data.validation={data.validation}: {data.source} has a validation split of its own, "
            "which is used: leave the setting out."
        )
    if validation is None and test is None:
        raise ConfigError(
            f"data.validation=0 leaves nothing to evaluate on, for {data.source} has only training "
            "images: leave it out, or give a test split."
        )
    held_out = {"validation": validation, "test": test}
    for split, dataset in held_out.items():
        if dataset is not None:
            try:
                held_out[split] = with_labels(dataset, train.labels)
            except DataError as problem:
                message = f"{data.source}: the {split} images have {problem}"
                raise DataError(message) from None
    return Datasets(train, **held_out)


def _check_labels(config: RunConfig, train: Dataset) -> None:
    """Raises `ConfigError` if the method learns from labels and there are none, or one only."""
    if "labels" not in get_method(config.method.name).inputs:
        return
    if not train.labels:
        raise ConfigError(
            f"{config.data.source} has no labels and method {config.method.name!r} learns from "
            "them: give folder:PATH, or another method."
        )
    if len(train.labels) < 2:
        raise ConfigError(
            f"{config.data.source} holds only one class, {train.labels[0]!r}: make one subfolder "
            "of images for each of two or more."
        )


def build_stream(config: RunConfig, method: Method, dataset: Dataset) -> Stream:
    """The batches that a method learns from.

    Args:
        config: the settings.
        method: the method, whose `inputs` say what a batch holds.
        dataset: training samples.

    Returns:
        Batches with augmentation, or with features that are computed here, once.

    Raises:
        ConfigError: augmentation or the size of batches does not fit the method.

    Example:
        >>> from vitrail.train.config import make_config
        >>> from vitrail.train.model_factory import build_method, build_model
        >>> options = {"patch_size": 4, "dim": 8, "depth": 1, "heads": 1, "mlp_dim": 8}
        >>> config = make_config({"data": {"source": "digits", "limit": 20, "batch_size": 4},
        ...                       "model": {"name": "ViT", "options": options}})
        >>> train = open_datasets(config).train
        >>> stream = build_stream(config, build_method(config, build_model(config, train), train),
        ...                       train)
        >>> next(stream.epoch(0, 0, "cpu"))["images"].shape
        torch.Size([4, 1, 8, 8])
    """
    data, preprocess = config.data, method.backbone.preprocess
    if "features" in method.inputs:
        loader = Loader(dataset, data.batch_size, frame(preprocess), workers=data.workers)
        stream = _feature_stream(method, loader, _("features of training images"),
                                 seed=config.train.seed, shard=_shard())  # fmt: skip
        method.fit_statistics(stream.all())
        return stream
    loader = Loader(
        dataset,
        data.batch_size,
        _training_fit(config, dataset, preprocess),
        seed=config.train.seed,
        workers=data.workers,
        drop_last=True,
        repeats=data.repeats,
        shard=_shard(),
    )
    check_batches(method, loader.batch_size, _shard()[1])
    transform = build_transform(config, method, dataset)
    if "crops" in method.inputs:
        _check_local_crops(config, method)
    return ImageStream(loader, transform, config.train.seed)


def build_evaluator(
    config: RunConfig, method: Method, train: Dataset, held_out: Dataset
) -> Evaluator:
    """What evaluates a method on held-out samples, during training or after it.

    Args:
        config: the settings.
        method: the method, whose `inputs` say what a batch holds.
        train: training samples, which k-NN looks among.
        held_out: samples to evaluate on.

    Returns:
        The evaluator.

    Example:
        >>> from vitrail.train.config import make_config
        >>> from vitrail.train.model_factory import build_method, build_model
        >>> options = {"patch_size": 4, "dim": 8, "depth": 1, "heads": 1, "mlp_dim": 8}
        >>> config = make_config({"data": {"source": "digits", "limit": 20},
        ...                       "model": {"name": "ViT", "options": options}})
        >>> train, validation, _ = open_datasets(config)
        >>> method = build_method(config, build_model(config, train), train)
        >>> len(build_evaluator(config, method, train, validation).validation.dataset)
        285
    """
    data, preprocess = config.data, method.backbone.preprocess
    fit = frame(preprocess)
    loader = Loader(held_out, 2 * data.batch_size, fit, workers=data.workers)
    loss_stream = None
    if "features" in method.inputs:
        stream: Stream = _feature_stream(method, loader, _("features of held-out images"))
    else:
        transform = evaluation_transform(preprocess, _captions(method, held_out))
        stream = ImageStream(loader, transform)
        if method.batch_wide and method.has_validation_loss:
            # Batches like those of training, for the loss depends on their size and mixture.
            mixed = Loader(held_out, data.batch_size, fit, seed=0, workers=data.workers,
                           drop_last=True, shard=_shard())  # fmt: skip
            loss_stream = ImageStream(mixed, transform)
    return Evaluator(train, loader, preprocess, stream, loss_stream, config.train.knn_images)


def _shard() -> tuple[int, int]:
    """(rank, number of processes)."""
    state = PartialState(cpu=not torch.accelerator.is_available())
    return state.process_index, state.num_processes


def check_batches(method: Method, batch_size: int, processes: int = 1) -> None:
    """Checks that a batch is large enough for a method and for batch norms.

    Args:
        method: the method.
        batch_size: samples per batch, of all processes together.
        processes: number of processes.

    Raises:
        ConfigError: it is too small.

    Example:
        >>> from vitrail.methods.supervised import Supervised
        >>> check_batches(Supervised(vitrail.create_model("levit_128s")), batch_size=1)
        Traceback (most recent call last):
        vitrail.errors.ConfigError: data.batch_size=1 leaves 1 image per process, and batch norms...
    """
    if batch_size < method.smallest_batch:
        raise ConfigError(
            f"data.batch_size={batch_size} is too small for {type(method).__name__}, which "
            f"compares the samples of a batch: use {method.smallest_batch} or more."
        )
    learning = [m for m in method.train().modules() if isinstance(m, BATCH_NORMS) and m.training]
    if learning and "images" in method.inputs and batch_size // processes < 2:
        raise ConfigError(
            f"data.batch_size={batch_size} leaves 1 image per process, and batch norms need the "
            f"statistics of several: use {2 * processes} or more."
        )


def _check_local_crops(config: RunConfig, method: Method) -> None:
    """Raises `ConfigError` if the model cannot read local crops of the size that is set."""
    crops, backbone = config.data.crops, method.backbone
    if not crops.local or crops.local_size is None:
        return
    size = crops.local_pixels(backbone.preprocess.size, method.cell)
    like = next(backbone.parameters())
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            backbone.features(like.new_zeros(1, backbone.channels, *size))
    except VitrailError as problem:
        raise ConfigError(f"data.crops.local_size={crops.local_size}: {problem}") from None
    backbone.train(was_training)


def build_transform(config: RunConfig, method: Method, dataset: Dataset) -> BatchTransform:
    """What makes a batch of the samples that were read.

    Args:
        config: the settings.
        method: the method, whose `inputs` say what a batch holds.
        dataset: training samples.

    Returns:
        A function of a raw batch and a seed.

    Raises:
        ConfigError: augmentation does not fit the method.

    Example:
        >>> from vitrail.train.config import make_config
        >>> from vitrail.train.model_factory import build_method, build_model
        >>> options = {"patch_size": 4, "dim": 8, "depth": 1, "heads": 1, "mlp_dim": 8}
        >>> config = make_config({"data": {"source": "digits"},
        ...                       "model": {"name": "ViT", "options": options}})
        >>> dataset = open_datasets(config).train
        >>> method = build_method(config, build_model(config, dataset), dataset)
        >>> callable(build_transform(config, method, dataset))
        True
    """
    augment, inputs, preprocess = config.data.augment, method.inputs, method.backbone.preprocess
    if "captions" in inputs and (augment.mixup or augment.cutmix):
        raise ConfigError(
            f"method {config.method.name!r} mixes no captions: set data.augment.mixup and cutmix "
            "to 0."
        )
    own = own_transforms(config.data.transforms)
    try:
        crops = None
        if "crops" in inputs:
            crops = MultiCrop(augment, config.data.crops, preprocess, method.cell, own)
        images = TrainTransform(augment, preprocess, max(len(dataset.labels), 1), own)
    except ConfigError as problem:
        raise ConfigError(f"data.augment: {problem}") from None
    return training_transform(inputs, images, crops, _captions(method, dataset))


def frame(preprocess: Preprocess) -> Fit:
    """What brings a sample to the frame that evaluation sees.

    Args:
        preprocess: of the model.

    Returns:
        The centre crop of images; clips, volumes and signals stay as they are.

    Example:
        >>> frame(Preprocess((8, 8), None))(torch.zeros(3, 9, 9, dtype=torch.uint8)).shape
        torch.Size([3, 8, 8])
    """
    return preprocess.crop if len(preprocess.size) == 2 else _unchanged


def _unchanged(sample: Tensor) -> Tensor:
    return sample


def _training_fit(config: RunConfig, dataset: Dataset, preprocess: Preprocess) -> Fit:
    if config.data.augment.crop != "resized" or dataset.fixed_size:
        return frame(preprocess)
    return canvas(round(max(preprocess.size) * config.data.canvas), preprocess.channels)


def _captions(method: Method, dataset: Dataset) -> Captions | None:
    if "captions" not in method.inputs:
        return None
    return Captions(dataset, method.tokenizer, method.templates)


def _feature_stream(
    method: Method,
    loader: Loader,
    title: str,
    seed: int | None = None,
    shard: tuple[int, int] = (0, 1),
) -> FeatureStream:
    """A stream of features, which are computed here."""
    backbone = method.backbone
    with progress_bar(title) as progress:
        features, labels, indices = compute_features(
            backbone, loader, backbone.preprocess, progress
        )
    return FeatureStream(features, labels, loader.batch_size, seed, shard, indices=indices)
