"""`vitrail.evaluate`: how good a model is on labelled images."""

from pathlib import Path
from typing import Any, Literal

from vitrail.data.dataset import Dataset
from vitrail.data.loader import Loader
from vitrail.data.pairs import MEMORY, DataSource, as_splits, open_split
from vitrail.errors import ConfigError, DataError, check_choice
from vitrail.messages import _
from vitrail.models.base import Backbone
from vitrail.run_folder import RunFolder
from vitrail.train.config import read_config
from vitrail.train.data_factory import frame
from vitrail.train.evaluator import evaluate_probe
from vitrail.train.inference import (
    ModelSource,
    classifier,
    classifying_method,
    describe_model,
    open_model,
    prepare,
)
from vitrail.train.metrics import Evaluation, evaluate_classifier
from vitrail.train.monitor import note, progress_bar
from vitrail.train.runs import TrainingRun


def evaluate(
    model: ModelSource,
    data: DataSource | None = None,
    *,
    split: Literal["train", "test"] = "test",
    probe: Literal["knn", "linear"] | None = None,
    layer: int | None = None,
    limit: int | None = None,
    train_limit: int | None = None,
    image_size: int | None = None,
    precision: Literal["auto", "fp32", "bf16"] = "fp32",
    bad_images: Literal["raise", "skip"] = "raise",
    batch_size: int = 64,
    workers: int = 0,
) -> Evaluation:
    """Evaluates a model on labelled images, as `vitrail eval` does.

    A model without a head is evaluated by the classifier that its run saved beside it, or with
    `probe` by its features.

    Args:
        model: a model, which runs on its device; a `TrainingRun`; a run, a model folder or a Hub
            id.
        data: a name or objects, as `vitrail.fit` takes them; None for the data that the run was
            trained on. Objects without a test split are all evaluated; with `probe`, a fifth of
            each class is, and the probe learns from the others.
        split: "train" or "test".
        probe: evaluate the features instead of the head, by labelled training images: "knn", the
            20 nearest neighbors; "linear", a logistic regression.
        layer: with `probe`, features after so many blocks; None for all.
        limit: number of images, evenly over the classes; None for all.
        train_limit: with `probe`, number of training images, evenly over the classes; None for all.
        image_size: pixels of the images' sides; None for the model's own.
        precision: "fp32", "bf16", or "auto" for the faster of them.
        bad_images: "raise" for an error at unreadable images, "skip" to list them on stderr.
        batch_size: images per batch.
        workers: number of processes that read images; 0 reads them in this one.

    Returns:
        The evaluation, with `top1`, `top5`, `loss`, `confusion()`, `labels` and `details`.

    Raises:
        VitrailError: the model, the data and the options do not fit each other.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=10, dim=8, depth=1, heads=2, mlp_dim=8,
        ...                     channels=1)
        >>> result = vitrail.evaluate(model, "digits", probe="knn", limit=20)
        >>> result.figures["count"], result.details["training_images"]
        (20, 1442)
    """
    _check_options(probe, split, bad_images, train_limit, layer)
    data = _own_dataset(model) if data is None else data
    if probe is not None and not isinstance(data, str | Path):
        data = as_splits(data)  # none of the test images is learned from
    backbone = open_model(model, image_size=image_size, layer=layer)

    def open_loader(split: Literal["train", "test"], limit: int | None) -> Loader:
        dataset = open_labelled(data, split, bad_images=bad_images, limit=limit)
        return Loader(dataset, batch_size, frame(backbone.preprocess), workers=workers)

    loader = open_loader(split, limit)
    labels = loader.dataset.labels
    name = str(data) if isinstance(data, str | Path) else MEMORY
    details: dict[str, Any] = {"data": name, "split": split}
    if probe is not None:
        module: Any = prepare(backbone, precision, next(loader.epoch()).images)
        train = open_loader("train", train_limit)
        _check_same_classes(train.dataset.labels, labels)
        result, more = evaluate_probe(module, probe, train, loader, progress_bar)
        return result._replace(labels=labels, details={**details, **more})
    # Where the model has no head, its run may have saved a classifier beside it.
    method = None if backbone.num_classes else classifying_method(model)
    _check_labels(describe_model(model), backbone, name, labels)
    module = classifier(prepare(backbone, precision, next(loader.epoch()).images), method)
    with progress_bar(_("evaluation")) as progress:
        result = evaluate_classifier(module, loader, backbone.preprocess, progress)
    return result._replace(labels=labels, details=details)


def open_labelled(
    data: DataSource,
    split: Literal["train", "test"],
    *,
    bad_images: Literal["raise", "skip"] = "raise",
    limit: int | None = None,
) -> Dataset:
    """A split of a labelled dataset. Images that are left out are listed on stderr.

    Args:
        data: a name or objects, as `vitrail.fit` takes them.
        split: "train" or "test".
        bad_images: "raise" for an error at unreadable images, "skip" to leave them out.
        limit: number of samples, evenly over the classes; None for all.

    Returns:
        The samples.

    Raises:
        ConfigError: they have no labels.
        DataError: something is missing or unreadable.

    Example:
        >>> len(open_labelled("digits", "test", limit=20))
        20
    """
    with progress_bar(_("reading images")) as progress:
        try:
            dataset = open_split(data, split, bad_images=bad_images, limit=limit, progress=progress)
        except DataError as problem:
            raise DataError(str(problem).replace("=skip", "='skip'")) from None
    for name, reason in dataset.bad_images:
        note(_("skipped {problem}").format(problem=f"{name}: {reason}"))
    if not dataset.labels:
        raise ConfigError(f"{data} has no labels: give labelled images, as data='folder:PHOTOS'.")
    return dataset


def _check_options(
    probe: str | None, split: str, bad_images: str, train_limit: int | None, layer: int | None
) -> None:
    check_choice("split", split, ("train", "test"))
    check_choice("bad_images", bad_images, ("raise", "skip"))
    if probe is not None:
        check_choice("probe", probe, ("knn", "linear"))
        if split == "train":
            raise ConfigError(f"{probe=} learns from the training images: use split='test'.")
    elif train_limit is not None or layer is not None:
        option = f"layer={layer}" if train_limit is None else f"train_limit={train_limit}"
        raise ConfigError(f"{option} is for probes: add probe='knn' or probe='linear'.")


def _check_same_classes(train: list[str], test: list[str]) -> None:
    if train != test:
        raise ConfigError(
            f"the training images have the classes {', '.join(train[:5])}..., and the test images "
            f"{', '.join(test[:5])}...: they must be the same."
        )


def _check_labels(model: str, backbone: Backbone, data: str, labels: list[str]) -> None:
    """Raises `ConfigError` if the model classifies into other classes than the dataset's."""
    if backbone.num_classes not in (0, len(labels)):
        raise ConfigError(f"{model} has {backbone.num_classes} classes and {data} {len(labels)}.")
    if backbone.labels is not None and backbone.labels != labels:
        raise ConfigError(
            f"{model} has the classes {', '.join(backbone.labels[:5])}..., and {data} has "
            f"{', '.join(labels[:5])}...: they must be the same, in the same order."
        )


def _own_dataset(model: ModelSource) -> str:
    """The name of the dataset that a run was trained on."""
    source = None
    if not isinstance(model, Backbone):
        run = RunFolder(model.folder if isinstance(model, TrainingRun) else model)
        if run.settings_file.is_file():
            source = read_config(run.settings_file).data.source
    if source is None:
        raise ConfigError(
            f"{describe_model(model)} is no run, so its dataset is unknown: give one, as "
            "data='folder:PHOTOS'."
        )
    if source == MEMORY:
        raise ConfigError(f"{describe_model(model)} learned from objects in memory: give data=.")
    return source
