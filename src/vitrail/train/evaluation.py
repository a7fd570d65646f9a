"""`vitrail.evaluate`: how good a model is on labelled images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from vitrail.arguments import checked
from vitrail.data.dataset import Dataset
from vitrail.data.joined import with_labels
from vitrail.data.loader import Loader
from vitrail.data.pairs import MEMORY, DataSource, as_parts
from vitrail.data.registry import Split, prepared
from vitrail.data.splits import Parts, open_part, split_off
from vitrail.errors import ConfigError, DataError, check_range
from vitrail.manifest import trusting
from vitrail.messages import _
from vitrail.models.base import Backbone
from vitrail.run_folder import RunFolder
from vitrail.train.config import RunConfig, read_config
from vitrail.train.console import describe_bad_image, note, progress_bar
from vitrail.train.data_factory import DESCRIPTIONS, absent_classes, run_parts
from vitrail.train.devices import process_shard
from vitrail.train.evaluator import cross_validate, evaluate_probe
from vitrail.train.inference import (
    ModelSource,
    classifier,
    classifying_method,
    describe_model,
    open_model,
    prepare,
)
from vitrail.train.metrics import AnyEvaluation, evaluate_classifier
from vitrail.train.runs import TrainingRun
from vitrail.train.stream_factory import frame
from vitrail.train.summary import describe_left_aside
from vitrail.values import PositiveInt, Size


@checked
def evaluate(
    model: ModelSource,
    data: DataSource | None = None,
    *,
    split: Split | None = None,
    probe: Literal["knn", "linear"] | None = None,
    folds: int | None = None,
    layer: int | None = None,
    limit: PositiveInt | None = None,
    train_limit: PositiveInt | None = None,
    image_size: Size | None = None,
    precision: Literal["auto", "fp32", "bf16"] = "fp32",
    bad_images: Literal["raise", "skip"] = "raise",
    batch_size: int = 64,
    workers: int = 0,
    device: str | torch.device | None = None,
    trust: bool = False,
) -> AnyEvaluation:
    """Evaluates a model on labelled images, as `vitrail eval` does.

    A model without a head is evaluated by the classifier that its run saved beside it, or with
    `probe` by its features. The classes of the images are matched with the model's by name; it may
    know more of them.

    Args:
        model: a model, which runs on its device; a `TrainingRun`; a run, a model folder or a Hub
            id.
        data: a name or objects, as `vitrail.fit` takes them; None for the data that the run was
            trained on, split as in training.
        split: "train", "val" or "test"; "all" for all images; None for "test" if there is one,
            "val" if not, and otherwise "all".
        probe: evaluate the features instead of the head, by labelled training images: "knn", the
            20 nearest neighbors; "linear", a logistic regression. Where there is no other split
            than "train", a fifth of each class is held out to evaluate on.
        folds: with `probe`, evaluate all images in so many parts, each by the images of the others:
            cross-validation for small sets.
        layer: with `probe`, features after so many blocks; None for all.
        limit: number of images, evenly over the classes; None for all.
        train_limit: with `probe`, number of training images, evenly over the classes; None for all.
        image_size: pixels, one number for all axes or one per axis; None for the model's own.
        precision: "fp32", "bf16", or "auto" for the faster of them.
        bad_images: "raise" for an error at unreadable images, "skip" to list them on stderr.
        batch_size: images per batch.
        workers: number of processes that read images; 0 reads them in this one.
        device: "cpu", "cuda", "cuda:1", "mps" ...; None for the device of a model, and the GPU, if
            there is one, for what is loaded.
        trust: whether to read a model whose files are not as they were written, see `vitrail.load`.

    Returns:
        The evaluation, with `top1`, `top5`, `loss`, `interval`, `confusion()`, `labels` and
        `details`. A model of several labels or of numbers has a `LabelEvaluation` or a
        `NumberEvaluation`, whose `figures` and `classes` hold what there is.

    Raises:
        VitrailError: the model, the data and the options do not fit each other.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=10, dim=8, depth=1, heads=2, mlp_dim=8,
        ...                     channels=1)
        >>> result = vitrail.evaluate(model, "digits", probe="knn", limit=20)
        >>> result.figures["count"], result.details["training_images"]
        (20, 1442)
    """
    _check_options(probe, split, train_limit, layer, folds)
    parts, name = _open_parts(model, data)
    with trusting(trust):
        backbone = open_model(model, image_size=image_size, layer=layer, device=device)

    def load(
        dataset: Dataset, labels: Sequence[str] | None = None, most: int | None = None
    ) -> Loader:
        dataset = _labelled(dataset, name, bad_images=bad_images, limit=most)
        if probe is None and dataset.target != backbone.outputs.target:
            raise ConfigError(
                f"{name} has {DESCRIPTIONS[dataset.target]}, and {describe_model(model)} predicts "
                f"{DESCRIPTIONS[backbone.outputs.target]}: give data like those of its training."
            )
        if probe is not None and dataset.target != "class":
            raise ConfigError(
                f"{probe=} tells classes, and {name} has {DESCRIPTIONS[dataset.target]}: train a "
                "model on them, and evaluate it without a probe."
            )
        if labels is not None:
            dataset = _matched(dataset, labels, name, "" if probe else describe_model(model))
        dataset = dataset.for_input(backbone.preprocess)
        fit = frame(backbone.preprocess)
        shard = process_shard()
        return Loader(dataset, batch_size, fit, workers=workers, shard=shard, deals=True)

    def prepared_for(loader: Loader) -> Any:
        return prepare(backbone, precision, next(loader.epoch()).images)

    more: dict[str, Any] = {}
    if probe is None:
        split_name, dataset = open_part(parts, split, name)
        loader = load(dataset, backbone.labels, limit)
        _check_number(backbone, loader.dataset, describe_model(model), name)
        # Where the model has no head, its run may have saved a classifier beside it.
        with trusting(trust):
            method = None if backbone.num_classes else classifying_method(model)
        head = classifier(prepared_for(loader), method)
        with progress_bar(_("evaluation")) as progress:
            result: AnyEvaluation = evaluate_classifier(
                head, loader, backbone.preprocess, progress, backbone.outputs
            )
    elif folds is not None:
        split_name, dataset = open_part(parts, split or "all", name)
        loader = load(dataset, most=limit)
        result, more = cross_validate(prepared_for(loader), probe, loader, folds, progress_bar)
    else:
        split_name, train, dataset = _for_probe(parts, split, name)
        bank = load(train, most=train_limit)
        loader = load(dataset, bank.dataset.labels, limit)
        result, more = evaluate_probe(prepared_for(loader), probe, bank, loader, progress_bar)
    details = {"data": name, "split": split_name, **more}
    return result._replace(labels=loader.dataset.labels, details=details)


def _labelled(
    dataset: Dataset, name: str, *, bad_images: Literal["raise", "skip"], limit: int | None
) -> Dataset:
    """The samples that can be read; those left out are listed on stderr."""
    with progress_bar(_("reading images")) as progress:
        try:
            dataset = prepared(dataset, bad_images=bad_images, limit=limit, progress=progress)
        except DataError as problem:
            raise DataError(str(problem).replace("=skip", "='skip'")) from None
    for image, reason in dataset.bad_images:
        note(_("skipped {problem}").format(problem=describe_bad_image(image, reason)))
    if dataset.inventory is not None and (aside := describe_left_aside(dataset.inventory)):
        note(_("left aside: {what}").format(what=", ".join(aside)))
    if not dataset.labels:
        raise ConfigError(f"{name} has no labels: give labelled images, as data='folder:PHOTOS'.")
    return dataset


def _check_options(
    probe: str | None,
    split: str | None,
    train_limit: int | None,
    layer: int | None,
    folds: int | None,
) -> None:
    if probe is None:
        for option, value in {"train_limit": train_limit, "layer": layer, "folds": folds}.items():
            if value is not None:
                raise ConfigError(
                    f"{option}={value} is for probes: add probe='knn' or probe='linear'."
                )
        return
    if folds is not None:
        check_range("folds", folds, 2)
        if train_limit is not None:
            raise ConfigError(f"{folds=} learns from all other parts: leave {train_limit=} out.")
    elif split in ("train", "all"):
        raise ConfigError(
            f"{probe=} learns from the training images: use split='test' or 'val', or folds=5 to "
            "evaluate all."
        )


def _for_probe(parts: Parts, split: str | None, name: str) -> tuple[str, Dataset, Dataset]:
    """The name of the split to evaluate on, samples to learn from, and those to evaluate on."""
    if "train" not in parts:
        raise DataError(
            f"{name} has no training images for a probe: it has {', '.join(map(repr, parts))}."
        )
    train = parts["train"]()
    if split is None and not {"test", "val"} & parts.keys():
        return "val", *split_off(train)
    split_name, dataset = open_part(parts, split, name)
    return split_name, train, dataset


def _check_number(backbone: Backbone, dataset: Dataset, model: str, name: str) -> None:
    """Raises `ConfigError` if classes without names are not as many as the dataset's."""
    if backbone.num_classes not in (0, len(dataset.labels)):
        raise ConfigError(
            f"{model} has {backbone.num_classes} classes and {name} {len(dataset.labels)}: "
            "evaluate it on images of its own, or name its classes, as model.labels=[...]."
        )


def _matched(dataset: Dataset, labels: Sequence[str], name: str, model: str) -> Dataset:
    """The dataset with these classes. What it has no image of is said on stderr."""
    try:
        dataset = with_labels(dataset, labels)
    except DataError as problem:
        subject = f"{model}: " if model else ""
        raise DataError(f"{subject}{name} has {problem}") from None
    if not dataset.streamed and (remark := absent_classes(dataset, name)):
        note(remark)
    return dataset


def _open_parts(model: ModelSource, data: DataSource | None) -> tuple[Parts, str]:
    """The splits to evaluate on, and the name of the data."""
    if data is not None:
        return as_parts(data), str(data) if isinstance(data, str | Path) else MEMORY
    config = _own_config(model)
    with progress_bar(_("reading images")) as progress:
        return run_parts(config, progress), config.data.source


def _own_config(model: ModelSource) -> RunConfig:
    """The settings of the run that a model comes from."""
    config = None
    if not isinstance(model, Backbone):
        run = RunFolder(model.folder if isinstance(model, TrainingRun) else model)
        if run.settings_file.is_file():
            config = read_config(run.settings_file)
    if config is None:
        if isinstance(model, str | Path) and not Path(model).exists():
            raise ConfigError(
                f"there is no run {str(model)!r}, so its dataset is unknown: give one, as "
                "data='folder:PHOTOS'."
            )
        raise ConfigError(
            f"{describe_model(model)} is no run, so its dataset is unknown: give one, as "
            "data='folder:PHOTOS'."
        )
    if config.data.source == MEMORY:
        raise ConfigError(f"{describe_model(model)} learned from objects in memory: give data=.")
    return config
