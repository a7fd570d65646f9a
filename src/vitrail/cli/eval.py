"""`vitrail eval`: how good a model is on labeled images."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vitrail.cli.common import (
    BadImagesOption,
    PrecisionOption,
    SizeOption,
    WeightsOption,
    classifier,
    load_classifying_method,
    note_skipped,
    open_model,
    out,
    prepare,
)
from vitrail.errors import ConfigError, DataError, VitrailError, check_choice
from vitrail.messages import _

if TYPE_CHECKING:
    from vitrail.data.loader import Loader
    from vitrail.models.base import Backbone
    from vitrail.train.metrics import Evaluation

HELP = _("Print accuracy and loss, and the accuracy of each class.")


def run(
    model: Annotated[str, typer.Argument(help=_("A run, a model folder or a Hub id."))],
    data: Annotated[
        str | None,
        typer.Option(help=_("folder:PATH, hub:NAME, fashion-mnist, ... Default: the run's own.")),
    ] = None,
    split: Annotated[str, typer.Option(help=_("train or test."))] = "test",
    weights: WeightsOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help=_("Images per batch."))] = 64,
    limit: Annotated[
        int | None, typer.Option(min=2, help=_("At most so many images, evenly over classes."))
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help=_("Processes that read images."))] = 0,
    image_size: SizeOption = None,
    precision: PrecisionOption = "fp32",
    bad_images: BadImagesOption = "raise",
    probe: Annotated[
        str | None,
        typer.Option(
            help=_(
                "Evaluate the features instead of the head, by labeled training images: knn, the "
                "20 nearest neighbors; linear, a logistic regression."
            )
        ),
    ] = None,
    train_limit: Annotated[
        int | None,
        typer.Option(
            min=2, help=_("With --probe: at most so many training images, evenly over classes.")
        ),
    ] = None,
    layer: Annotated[
        int | None, typer.Option(min=1, help=_("With --probe: features after so many blocks."))
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help=_("Print JSON."))] = False,
) -> None:
    """Evaluates a model on labeled images."""
    from vitrail.train.monitor import progress_bar

    check_options(probe, split, bad_images, train_limit, layer)
    data = data or own_dataset(model)
    backbone = open_model(model, weights, image_size)

    def open_loader(split: str, limit: int | None) -> "Loader":
        return _open_loader(backbone, data, split, bad_images, limit, batch_size, workers)

    loader = open_loader(split, limit)
    labels = loader.dataset.labels
    if not labels:
        raise ConfigError(f"{data} has no labels: give labeled images, as --data folder:PHOTOS.")
    details: dict[str, Any] = {}
    if probe is not None:
        if layer is not None:
            cut(backbone, layer)
        module = prepare(backbone, precision, next(loader.epoch()).images)
        train_loader = open_loader("train", train_limit)
        result, details = _evaluate_probe(module, probe, train_loader, loader)
    else:
        from vitrail.train.metrics import evaluate_classifier

        # Where the model has no head, its run may have saved a classifier beside it.
        method = None if backbone.num_classes else load_classifying_method(model)
        check_labels(model, backbone, data, labels)
        module = prepare(backbone, precision, next(loader.epoch()).images)
        with progress_bar(_("evaluation")) as progress:
            module = classifier(module, method)
            result = evaluate_classifier(module, loader, backbone.preprocess, progress)
    print_result(result, labels, {"data": data, "split": split, **details}, as_json)


def cut(backbone: "Backbone", layer: int) -> None:
    """Drops the blocks after a layer.

    Args:
        backbone: the model, which is changed.
        layer: value of --layer, the number of blocks that remain.

    Raises:
        ConfigError: the model has fewer blocks.
        TierError: the model cannot be cut.

    Example:
        >>> model = vitrail.ViT(8, 4, 2, 8, 2, 2, 8)
        >>> cut(model, 1)
        >>> model.depth
        1
    """
    try:
        backbone.cut(layer)
    except VitrailError as problem:
        raise type(problem)(f"--layer {layer}: {problem}") from None


def print_result(
    result: "Evaluation", labels: list[str], details: dict[str, Any], as_json: bool
) -> None:
    """Prints an evaluation.

    Args:
        result: predictions of all images.
        labels: class names.
        details: dataset, split, and how the features were evaluated.
        as_json: whether to print one JSON object, without the classes.

    Example:
        >>> from vitrail.train.metrics import summarize
        >>> result = summarize(torch.eye(2), torch.arange(2), torch.arange(2))
        >>> print_result(result, ["cat", "dog"], {"data": "pets", "split": "test"}, True)
        {"top1": 1.0, "top5": 1.0, "loss": 0.31..., "count": 2, "data": "pets", "split": "test"}
    """
    figures = {"top1": result.top1, "top5": result.top5, "loss": result.loss}
    count = len(result.targets)
    if as_json:
        out.print_json(json.dumps({**figures, "count": count, **details}), indent=None)
        return
    more = {key: value for key, value in details.items() if key not in ("data", "split")}
    text = _("{data} {split}, {count:,} images").format(count=count, **details)
    text += "".join(f", {key.replace('_', ' ')} {value}" for key, value in more.items())
    out.print(text, highlight=False, markup=False)
    for name, value in figures.items():
        out.print(f"{name:>6} {value:.4f}", highlight=False)
    confusion = result.confusion()
    for index, label in enumerate(labels):
        right, total = int(confusion[index, index]), int(confusion[index].sum())
        text = _("{accuracy:7.1%}  {label} ({right} of {total})")
        text = text.format(accuracy=right / max(total, 1), label=label, right=right, total=total)
        out.print(text, highlight=False, markup=False)


def check_options(
    probe: str | None, split: str, bad_images: str, train_limit: int | None, layer: int | None
) -> None:
    """Checks options against each other.

    Args:
        probe: value of --probe.
        split: value of --split.
        bad_images: value of --bad-images.
        train_limit: value of --train-limit.
        layer: value of --layer.

    Raises:
        ConfigError: a value is unknown, or two contradict each other.

    Example:
        >>> check_options("knn", "test", "raise", 100, None)
    """
    check_choice("--split", split, ("train", "test"))
    check_choice("--bad-images", bad_images, ("raise", "skip"))
    if probe is not None:
        check_choice("--probe", probe, ("knn", "linear"))
        if split == "train":
            raise ConfigError("--probe learns from the training images: use --split test.")
    elif train_limit is not None or layer is not None:
        option = "--layer" if train_limit is None else "--train-limit"
        raise ConfigError(f"{option} is for probes: add --probe knn or --probe linear.")


def check_labels(model: str, backbone: "Backbone", data: str, labels: list[str]) -> None:
    """Checks that a model classifies into the classes of a dataset.

    Args:
        model: name of the model, for the error message.
        backbone: the model.
        data: name of the dataset, for the error message.
        labels: class names of the dataset.

    Raises:
        ConfigError: number or names of the classes differ.

    Example:
        >>> check_labels("pets", vitrail.ViT(8, 4, 2, 8, 1, 2, 8), "folder:pets", ["cat", "dog"])
    """
    if backbone.num_classes not in (0, len(labels)):
        raise ConfigError(f"{model} has {backbone.num_classes} classes and {data} {len(labels)}.")
    if backbone.labels is not None and backbone.labels != labels:
        raise ConfigError(
            f"{model} has the classes {', '.join(backbone.labels[:5])}..., and {data} has "
            f"{', '.join(labels[:5])}...: they must be the same, in the same order."
        )


def own_dataset(model: str) -> str:
    """The dataset that a run was trained on.

    Args:
        model: a run.

    Returns:
        The dataset as `open_dataset` names it.

    Raises:
        ConfigError: it is no run.

    Example:
        >>> own_dataset("nowhere")
        Traceback (most recent call last):
        vitrail.errors.ConfigError: nowhere is no run, so its dataset is unknown: ...
    """
    from vitrail.run_folder import RunFolder
    from vitrail.train.config import read_config

    settings = RunFolder(model).settings_file
    if not settings.is_file():
        raise ConfigError(
            f"{model} is no run, so its dataset is unknown: give one, as --data folder:PHOTOS."
        )
    return read_config(settings).data.source


def _open_loader(
    backbone: "Backbone",
    data: str,
    split: Any,
    bad_images: Any,
    limit: int | None,
    batch_size: int,
    workers: int,
) -> "Loader":
    """Batches of a dataset as the model sees them; lists the images that are left out."""
    from vitrail.data.loader import Loader
    from vitrail.data.registry import open_dataset
    from vitrail.train.monitor import progress_bar

    try:
        with progress_bar(_("reading images")) as progress:
            dataset = open_dataset(
                data, split, bad_images=bad_images, limit=limit, progress=progress
            )
    except DataError as problem:
        raise DataError(
            str(problem).replace("set bad_images=skip", "add --bad-images skip")
        ) from None
    for name, reason in dataset.bad_images:
        note_skipped(f"{name}: {reason}")
    return Loader(dataset, batch_size, backbone.preprocess.crop, workers=workers)


def _evaluate_probe(
    module: Any, kind: Any, train: "Loader", validation: "Loader"
) -> tuple["Evaluation", dict[str, Any]]:
    """Evaluates features by labeled training images; says with what."""
    from vitrail.train.evaluator import evaluate_probe
    from vitrail.train.monitor import progress_bar

    labels = validation.dataset.labels
    if train.dataset.labels != labels:
        raise ConfigError(
            f"the training images have the classes {', '.join(train.dataset.labels[:5])}..., and "
            f"the test images {', '.join(labels[:5])}...: they must be the same."
        )
    return evaluate_probe(module, kind, train, validation, progress_bar)
