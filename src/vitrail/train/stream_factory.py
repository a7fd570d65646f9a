"""From settings to batches: those of training and of evaluation."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from vitrail.data.captions import Captions
from vitrail.data.dataset import Dataset
from vitrail.data.image_augment import ImageAugment, batch_part
from vitrail.data.loader import Fit, Loader, canvas
from vitrail.data.own_transforms import own_image_transforms, own_transforms
from vitrail.data.transforms import MultiCrop, TrainTransform
from vitrail.errors import ConfigError, VitrailError
from vitrail.layers.batch_norms import BATCH_NORMS
from vitrail.messages import _
from vitrail.methods.base import Method
from vitrail.preprocess import Preprocess
from vitrail.train.config import RunConfig
from vitrail.train.console import progress_bar
from vitrail.train.devices import choose_device, process_shard
from vitrail.train.evaluator import Evaluator, compute_features
from vitrail.train.streams import (
    BatchTransform,
    FeatureStream,
    ImageStream,
    Stream,
    evaluation_transform,
    training_transform,
)


def build_stream(
    config: RunConfig, method: Method, dataset: Dataset, features: Tensor | None = None
) -> Stream:
    """The batches that a method learns from.

    Args:
        config: the settings.
        method: the method, whose `inputs` say what a batch holds.
        dataset: training samples.
        features: (N, D), the pooled features of the samples; None computes them, once, where the
            method reads them.

    Returns:
        Batches with augmentation, or with features.

    Raises:
        ConfigError: augmentation or the size of batches does not fit the method.

    Example:
        >>> from vitrail.train.config import make_config
        >>> from vitrail.train.data_factory import open_datasets
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
    data, preprocess, shard = config.data, method.backbone.preprocess, process_shard()
    dataset = dataset.for_input(preprocess)
    if "features" in method.inputs:
        loader = Loader(dataset, data.batch_size, frame(preprocess), workers=data.workers,
                        shard=shard, deals=True)  # fmt: skip
        stream = _feature_stream(method, loader, _("features of training images"), features,
                                 seed=config.train.seed, shard=shard,
                                 balanced=data.sampler == "balanced")  # fmt: skip
        method.fit_statistics(stream.all())
        return stream
    check_batches(method, min(data.batch_size, len(dataset)), shard[1])
    loader = Loader(
        dataset,
        data.batch_size,
        _training_fit(config, dataset, preprocess),
        augment=image_augment(config, method, dataset),
        seed=config.train.seed,
        workers=data.workers,
        drop_last=True,
        repeats=data.repeats,
        shard=shard,
        balanced=data.sampler == "balanced",
        bad_images=data.bad_images,
    )
    transform = build_transform(config, method, dataset)
    if "crops" in method.inputs:
        _check_local_crops(config, method)
    return ImageStream(loader, transform, config.train.seed)


def build_evaluator(
    config: RunConfig, method: Method, train: Dataset, dataset: Dataset
) -> Evaluator:
    """What evaluates a method on held-out samples, during training or after it.

    Args:
        config: the settings.
        method: the method, whose `inputs` say what a batch holds.
        train: training samples, which k-NN looks among.
        dataset: samples to evaluate on.

    Returns:
        The evaluator.

    Example:
        >>> from vitrail.train.config import make_config
        >>> from vitrail.train.data_factory import open_datasets
        >>> from vitrail.train.model_factory import build_method, build_model
        >>> options = {"patch_size": 4, "dim": 8, "depth": 1, "heads": 1, "mlp_dim": 8}
        >>> config = make_config({"data": {"source": "digits", "limit": 20},
        ...                       "model": {"name": "ViT", "options": options}})
        >>> train, validation, _ = open_datasets(config)
        >>> method = build_method(config, build_model(config, train), train)
        >>> len(build_evaluator(config, method, train, validation).validation.dataset)
        285
    """
    data, preprocess, shard = config.data, method.backbone.preprocess, process_shard()
    train, one_part = train.for_input(preprocess), dataset.for_input(preprocess.single)
    dataset, fit = dataset.for_input(preprocess), frame(preprocess)
    loader = Loader(dataset, 2 * data.batch_size, fit, workers=data.workers,
                    shard=shard, deals=True)  # fmt: skip
    loss_stream = None
    if "features" in method.inputs:
        # At the end, images are evaluated: features are for epochs to be judged by.
        stream: Stream | Callable[[], Stream] = functools.partial(
            _feature_stream, method, loader, _("features of held-out images")
        )
    else:
        transform = evaluation_transform(preprocess, _captions(method, dataset), one_part)
        batches = Loader(one_part, 2 * data.batch_size, fit, workers=data.workers,
                         shard=shard, deals=True)  # fmt: skip
        stream = ImageStream(batches, transform)
        if method.batch_wide and method.has_validation_loss:
            # Batches like those of training, for the loss depends on their size and mixture. Each
            # process has as many samples of a batch.
            most = max(len(one_part) // shard[1], 1) * shard[1]
            mixed = Loader(one_part, min(data.batch_size, most), fit, seed=0, workers=data.workers,
                           drop_last=True, shard=shard)  # fmt: skip
            loss_stream = ImageStream(mixed, transform)
    return Evaluator(train, loader, preprocess, stream, loss_stream, config.train.knn_images)


def check_batches(method: Method, batch_size: int, processes: int = 1) -> None:
    """Checks that a batch is large enough for a method and for batch norms, and can be divided.

    Args:
        method: the method.
        batch_size: samples per batch, of all processes together.
        processes: number of processes.

    Raises:
        ConfigError: it is too small, or the processes do not divide it.

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
    if batch_size % processes:
        smaller = batch_size // processes * processes
        choices = f"{smaller} or {smaller + processes}" if smaller else str(processes)
        raise ConfigError(
            f"data.batch_size={batch_size} is not divided evenly by {processes} processes: use "
            f"{choices}."
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
        >>> from vitrail.train.data_factory import open_datasets
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
    if image_augment(config, method, dataset) is not None:
        augment = batch_part(augment)
    try:
        crops = None
        if "crops" in inputs:
            rows, columns = method.cell
            crops = MultiCrop(augment, config.data.crops, preprocess, (rows, columns), own)
        images = TrainTransform(augment, preprocess, max(len(dataset.labels), 1), own)
    except ConfigError as problem:
        raise ConfigError(f"data.augment: {problem}") from None
    return training_transform(inputs, images, crops, _captions(method, dataset), dataset)


def image_augment(config: RunConfig, method: Method, dataset: Dataset) -> ImageAugment | None:
    """What augments single images where they are read, if batches are not augmented instead.

    Args:
        config: the settings.
        method: the method, whose `inputs` say what a batch holds.
        dataset: training samples.

    Returns:
        The augmentation; None where whole batches are augmented.

    Raises:
        ConfigError: the settings ask for single images, and the method or the samples for batches.

    Example:
        >>> from vitrail.train.config import make_config
        >>> from vitrail.train.data_factory import open_datasets
        >>> from vitrail.train.model_factory import build_method, build_model
        >>> config = make_config({"data": {"source": "digits", "augment_by": "image"},
        ...     "model": {"name": "ViT", "options": {"patch_size": 4, "dim": 8, "depth": 1,
        ...                                          "heads": 1, "mlp_dim": 8}}})
        >>> dataset = open_datasets(config).train
        >>> method = build_method(config, build_model(config, dataset), dataset)
        >>> image_augment(config, method, dataset).size
        (8, 8)
    """
    data, preprocess = config.data, method.backbone.preprocess
    needs_images = data.augment.policy is not None or bool(data.image_transforms)
    asks_for = data.augment_by
    if asks_for is None:
        in_batches = dataset.fixed_size or choose_device(config.train.device).type != "cpu"
        asks_for = "image" if needs_images or not in_batches else "batch"
    can = len(preprocess.size) == 2 and "crops" not in method.inputs
    if asks_for == "batch" or not can:
        if needs_images:
            setting = "data.augment.policy" if data.augment.policy else "data.image_transforms"
            raise ConfigError(
                f"{setting} changes single images, and "
                + ("data.augment_by is 'batch'" if can else "this method or model takes others")
                + ": leave one of them out."
            )
        return None
    try:
        own = own_image_transforms(data.image_transforms)
        return ImageAugment(data.augment, preprocess, own)
    except ConfigError as problem:
        raise ConfigError(f"data.augment: {problem}") from None


def frame(preprocess: Preprocess) -> Fit:
    """What brings a sample to the frame that evaluation sees.

    Args:
        preprocess: of the model.

    Returns:
        The centre crop of images and of the frames of clips; signals stay as they are.

    Example:
        >>> frame(Preprocess((8, 8), None))(torch.zeros(3, 9, 9, dtype=torch.uint8)).shape
        torch.Size([3, 8, 8])
    """
    return preprocess.crop


def _training_fit(config: RunConfig, dataset: Dataset, preprocess: Preprocess) -> Fit:
    is_whole = config.data.augment.crop != "resized" or dataset.fixed_size
    if is_whole or len(preprocess.size) == 1:
        return frame(preprocess)
    return canvas(round(max(preprocess.size[-2:]) * config.data.canvas), preprocess.channels)


def _captions(method: Method, dataset: Dataset) -> Captions | None:
    if "captions" not in method.inputs:
        return None
    return Captions(dataset, method.tokenizer, method.templates)


def _feature_stream(
    method: Method,
    loader: Loader,
    title: str,
    features: Tensor | None = None,
    seed: int | None = None,
    shard: tuple[int, int] = (0, 1),
    balanced: bool = False,
) -> FeatureStream:
    """A stream of features, which are computed here if they are not given."""
    backbone, indices, weights = method.backbone, None, loader.dataset.weights
    if features is not None:
        labels = loader.dataset.truth()
    else:
        with progress_bar(title) as progress:
            features, labels, indices = compute_features(
                backbone, loader, backbone.preprocess, progress
            )
        if loader.dataset.values is not None:
            labels = loader.dataset.values[indices]
        if weights is not None:
            weights = weights[indices]
    return FeatureStream(
        features,
        labels,
        loader.batch_size,
        seed,
        shard,
        indices=indices,
        balanced=balanced,
        weights=weights,
    )
