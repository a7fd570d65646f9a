"""From settings to datasets and streams of batches."""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from accelerate import PartialState
from torch import Tensor

from vitrail.data.captions import Captions
from vitrail.data.dataset import Dataset
from vitrail.data.loader import Fit, Loader, canvas
from vitrail.data.own_transforms import own_transforms
from vitrail.data.pairs import without_unreadable
from vitrail.data.registry import open_dataset
from vitrail.data.splits import balanced, split_off
from vitrail.data.transforms import MultiCrop, TrainTransform
from vitrail.errors import ConfigError, DataError, VitrailError
from vitrail.messages import _
from vitrail.methods.base import Method
from vitrail.methods.frozen import BATCH_NORMS
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


class Streams(NamedTuple):
    """What a method learns from, and what it is evaluated on during training.

    Args:
        training: batches with augmentation, or with features that were computed once.
        evaluation: held-out batches.
        loss: held-out batches of the size of training's and in random order, for the validation
            loss of a method that compares the samples of a batch; None where it does not.

    Example:
        >>> Streams._fields
        ('training', 'evaluation', 'loss')
    """

    training: Stream
    evaluation: Stream
    loss: Stream | None = None


def build_streams(
    config: RunConfig, method: Method, datasets: Datasets, validation: Loader
) -> Streams:
    """The batches that a method learns from, and those that it is evaluated on during training.

    Args:
        config: the settings.
        method: the method, whose `inputs` say what a batch holds.
        datasets: training and held-out samples.
        validation: reads held-out samples.

    Returns:
        The streams.

    Raises:
        ConfigError: augmentation or the size of batches does not fit the method.

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
        >>> streams = build_streams(config, method, datasets, loader)
        >>> next(streams.training.epoch(0, 0, "cpu"))["images"].shape
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
    check_batches(method, loader.batch_size, state.num_processes)
    transform = build_transform(config, method, datasets.train)
    if "crops" in method.inputs:
        _check_local_crops(config, method)
    evaluate = evaluation_transform(preprocess, _captions(method, datasets.validation))
    loss_stream = None
    if method.batch_wide and method.has_validation_loss:
        mixed = Loader(
            datasets.validation,
            data.batch_size,
            validation.fit,
            seed=0,
            workers=data.workers,
            drop_last=True,
            shard=shard,
        )
        loss_stream = ImageStream(mixed, evaluate)
    training = ImageStream(loader, transform, config.train.seed)
    return Streams(training, ImageStream(validation, evaluate), loss_stream)


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


def _feature_streams(
    config: RunConfig,
    method: Method,
    datasets: Datasets,
    validation: Loader,
    shard: tuple[int, int],
) -> Streams:
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
    evaluation = FeatureStream(features, labels, validation.batch_size, seed=None, indices=indices)
    return Streams(stream, evaluation)
