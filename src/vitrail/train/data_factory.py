"""From settings to datasets and streams of batches."""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from accelerate import PartialState
from torch import Tensor

from vitrail.data.dataset import Dataset
from vitrail.data.loader import Fit, Loader, canvas
from vitrail.data.pairs import without_unreadable
from vitrail.data.registry import open_dataset
from vitrail.data.splits import balanced, split_off
from vitrail.data.text import Captions
from vitrail.data.transforms import MultiCrop, TrainTransform
from vitrail.errors import ConfigError, DataError
from vitrail.messages import _
from vitrail.methods.base import Method
from vitrail.methods.registry import get_method
from vitrail.preprocess import Preprocess
from vitrail.train.config import RunConfig
from vitrail.train.evaluator import compute_features
from vitrail.train.monitor import progress_bar
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
        validation: held-out samples.
        split: what the second is called.

    Example:
        >>> Datasets._fields
        ('train', 'validation', 'split')
    """

    train: Dataset
    validation: Dataset
    split: str


# Arguments of `open_dataset` and the settings that they come from, for errors.
SETTINGS = {"bad_images=": "data.bad_images=", "stream_limit": "data.limit"}


def open_datasets(
    config: RunConfig,
    progress: Progress | None = None,
    splits: tuple[Dataset, Dataset] | None = None,
) -> Datasets:
    """Opens and checks what `config.data` names.

    Args:
        config: the settings.
        progress: called with (done, total) while files are checked.
        splits: training and test samples, in place of what the settings name.

    Returns:
        Training and held-out samples.

    Raises:
        ConfigError: the method needs labels and there are none, or the splits' classes differ.
        DataError: something is missing or unreadable.

    Example:
        >>> from vitrail.train.config import make_config
        >>> datasets = open_datasets(make_config({"data": {"source": "digits", "limit": 50}}))
        >>> len(datasets.train), len(datasets.validation), datasets.split
        (50, 355, 'test')
    """
    data = config.data
    open_part = functools.partial(_open_split, config, progress=progress, splits=splits)
    train = open_part("train")
    if data.validation is not None:
        datasets = Datasets(*split_off(train, data.validation), "validation")
    else:
        datasets = Datasets(train, open_part("test"), "test")
    if data.limit is not None and not train.streamed:
        datasets = datasets._replace(train=balanced(datasets.train, data.limit))
    if not train.labels and "labels" in get_method(config.method.name).inputs:
        raise ConfigError(
            f"{data.source} has no labels and method {config.method.name!r} learns from them: give "
            "folder:PATH, or another method."
        )
    if datasets.validation.labels != train.labels:
        raise ConfigError(
            f"{data.source}: the classes to train on ({', '.join(train.labels)}) are not those to "
            f"test on ({', '.join(datasets.validation.labels)})."
        )
    return datasets


def _open_split(
    config: RunConfig,
    split: Literal["train", "test"],
    progress: Progress | None,
    splits: tuple[Dataset, Dataset] | None,
) -> Dataset:
    data = config.data
    try:
        if splits is not None:
            return without_unreadable(splits[split == "test"], data.bad_images, progress)
        return open_dataset(
            data.source,
            split,
            bad_images=data.bad_images,
            stream_limit=data.limit,
            progress=progress,
        )
    except DataError as problem:
        message = str(problem)
        for argument, setting in SETTINGS.items():
            message = message.replace(argument, setting)
        raise DataError(message) from None


def build_streams(
    config: RunConfig, method: Method, datasets: Datasets, validation: Loader
) -> tuple[Stream, Stream]:
    """The batches that a method learns from, and those that it is evaluated on during training.

    Args:
        config: the settings.
        method: the method, whose `inputs` say what a batch holds.
        datasets: training and held-out samples.
        validation: reads held-out samples.

    Returns:
        The training stream, with augmentation, or with features that were computed once; and the
        evaluation stream.

    Raises:
        ConfigError: augmentation does not fit the method.

    Example:
        >>> from vitrail.train.config import make_config
        >>> from vitrail.train.model_factory import build_method, build_model
        >>> options = {"patch_size": 4, "dim": 8, "depth": 1, "heads": 1, "mlp_dim": 8}
        >>> config = make_config({"data": {"source": "digits", "limit": 20, "batch_size": 4},
        ...                       "model": {"name": "ViT", "options": options}})
        >>> datasets = open_datasets(config)
        >>> model = build_model(config, datasets.train)
        >>> method = build_method(config, model, datasets.train)
        >>> loader = Loader(datasets.validation, 8, frame(model.preprocess))
        >>> stream, _ = build_streams(config, method, datasets, loader)
        >>> next(stream.epoch(0, 0, "cpu"))["images"].shape
        torch.Size([4, 1, 8, 8])
    """
    data, preprocess = config.data, method.backbone.preprocess
    state = PartialState(cpu=not torch.accelerator.is_available())
    shard = (state.process_index, state.num_processes)
    if "features" in method.inputs:
        return _feature_streams(config, method, datasets, validation, shard)
    loader = Loader(
        datasets.train,
        data.batch_size,
        _training_fit(config, datasets.train, preprocess),
        seed=config.train.seed,
        workers=data.workers,
        drop_last=True,
        repeats=data.repeats,
        shard=shard,
    )
    transform = build_transform(config, method, datasets.train)
    captions = _captions(method, datasets.validation)
    return (
        ImageStream(loader, transform, config.train.seed),
        ImageStream(validation, evaluation_transform(preprocess, captions)),
    )


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
    try:
        crops = None
        if "crops" in inputs:
            crops = MultiCrop(augment, config.data.crops, preprocess, method.cell)
        images = TrainTransform(augment, preprocess, max(len(dataset.labels), 1))
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


def _feature_streams(
    config: RunConfig,
    method: Method,
    datasets: Datasets,
    validation: Loader,
    shard: tuple[int, int],
) -> tuple[Stream, Stream]:
    """Streams of features, which are computed here."""
    model, data = method.backbone, config.data
    loader = Loader(datasets.train, data.batch_size, frame(model.preprocess), workers=data.workers)
    with progress_bar(_("features of training images")) as progress:
        features, labels, indices = compute_features(model, loader, model.preprocess, progress)
    stream = FeatureStream(
        features, labels, data.batch_size, config.train.seed, shard, indices=indices
    )
    with progress_bar(_("features of validation images")) as progress:
        features, labels, indices = compute_features(model, validation, model.preprocess, progress)
    method.fit_statistics(stream.all())
    return stream, FeatureStream(
        features, labels, validation.batch_size, seed=None, indices=indices
    )
