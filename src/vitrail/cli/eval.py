"""`vitrail eval`: how good a model is on labeled images."""

import json
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from vitrail.cli.common import (
    BadImagesOption,
    DeviceOption,
    PrecisionOption,
    SizeOption,
    WeightsOption,
    out,
)
from vitrail.errors import ConfigError
from vitrail.intervals import interval_text, wilson
from vitrail.messages import _, in_own_language

if TYPE_CHECKING:
    from vitrail.train.metrics import AnyEvaluation, Evaluation

HELP = _("Print accuracy and loss, and the accuracy of each class.")
EXAMPLES = ("vitrail eval runs/photos", "vitrail eval runs/photos --data folder:OTHER_PHOTOS")


def run(
    model: Annotated[str, typer.Argument(help=_("A run, a model folder or a Hub id."))],
    images: Annotated[
        str | None, typer.Argument(metavar="data", help=_("The same as --data."))
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help=_("folder:PATH, hub:NAME, fashion-mnist, ... Default: the run's own.")),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(
            help=_("train, val, test or all. Default: test or val, where there is one, or all.")
        ),
    ] = None,
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
    folds: Annotated[
        int | None,
        typer.Option(
            min=2, help=_("With --probe: cross-validation of all images in so many parts.")
        ),
    ] = None,
    device: DeviceOption = None,
    as_json: Annotated[bool, typer.Option("--json", help=_("Print JSON."))] = False,
) -> None:
    """Evaluates a model on labeled images."""
    from vitrail.methods import distributed
    from vitrail.train.evaluation import evaluate
    from vitrail.train.inference import open_model

    if images is not None and data is not None:
        raise ConfigError(f"data are given twice, as {images} and as --data={data}: choose one.")
    choices: dict[str, Any] = {  # which `evaluate` checks
        "split": split, "probe": probe, "precision": precision, "bad_images": bad_images,
    }  # fmt: skip
    result = evaluate(
        open_model(model, weights=weights, device=device) if weights is not None else model,
        images if data is None else data,
        folds=folds,
        layer=layer,
        limit=limit,
        train_limit=train_limit,
        image_size=image_size,
        batch_size=batch_size,
        workers=workers,
        device=device,
        **choices,
    )
    if distributed.rank() == 0:  # of several processes, which have all evaluated a part
        print_result(result, as_json)


def print_result(result: "AnyEvaluation", as_json: bool) -> None:
    """Prints an evaluation.

    Args:
        result: predictions of all images.
        as_json: whether to print one JSON object.

    Example:
        >>> from vitrail.train.metrics import summarize
        >>> result = summarize(torch.eye(2), torch.arange(2), torch.arange(2))
        >>> print_result(result._replace(details={"data": "pets", "split": "test"}), True)
        {"count": 2, "top1": 1.0, "top1_low": 0.34..., "top1_high": 1.0, "loss": ...
    """
    details, figures = dict(result.details), result.figures
    classes = [row._asdict() for row in result.classes]
    if as_json:
        values = {**figures, **result.scores, **details, "classes": classes}
        out.print_json(json.dumps(values), indent=None)
        return
    count, data, split = figures.pop("count"), details.pop("data"), details.pop("split")
    folds: Any = details.pop("fold_top1", [])
    text = _("{data} {split}, {count:,} images").format(data=data, split=split, count=count)
    text += "".join(f", {key.replace('_', ' ')} {value}" for key, value in details.items())
    out.print(text, highlight=False, markup=False)
    if "top1" not in figures:  # several labels, or numbers
        for name, value in figures.items():
            out.print(f"{name:>8} {value:.4f}", highlight=False)
        for row in classes:
            label, scores = row.pop("label"), [f"{key} {value:.4g}" for key, value in row.items()]
            out.print(f"{label}: {', '.join(scores)}", highlight=False, markup=False)
        return
    result = cast("Evaluation", result)
    low, high = figures.pop("top1_low"), figures.pop("top1_high")
    for name, value in figures.items():
        out.print(f"{name:>6} {value:.4f}", highlight=False)
        if name == "top1":
            text = _("       95 % interval {interval}").format(interval=interval_text(low, high))
            out.print(text, highlight=False)
    for name, value in result.scores.items():
        words = in_own_language(name.replace("_", " "))
        out.print(f"{words} {value:.4f}", highlight=False)
    for number, accuracy in enumerate(folds, 1):
        text = _("{accuracy:7.1%}  fold {number}").format(accuracy=accuracy, number=number)
        out.print(text, highlight=False)
    confusion = result.confusion()
    for index, label in enumerate(result.labels):
        right, total = int(confusion[index, index]), int(confusion[index].sum())
        text = _("{accuracy:7.1%}  {label} ({right} of {total}; {interval})")
        if not total:
            text = _("     -   {label} (0 of 0)")
        text = text.format(
            accuracy=right / max(total, 1),
            label=label,
            right=right,
            total=total,
            interval=interval_text(*wilson(right, total)),
        )
        out.print(text, highlight=False, markup=False)
