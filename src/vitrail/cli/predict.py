"""`vitrail predict`: the likeliest classes of images."""

import json
from typing import Annotated, Any, cast

import typer

from vitrail.cli.common import (
    BadImagesOption,
    ImagesArgument,
    ModelOption,
    PrecisionOption,
    SizeOption,
    WeightsOption,
    out,
)
from vitrail.errors import ConfigError
from vitrail.messages import _

HELP = _("Name the likeliest classes of each image.")


def run(
    images: ImagesArgument,
    model: ModelOption,
    weights: WeightsOption = None,
    labels: Annotated[
        str | None,
        typer.Option(help=_("Classes to choose from, for CLIP: 'a cat,a dog,a bicycle'.")),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help=_("Number of classes per image."))] = 3,
    image_size: SizeOption = None,
    precision: PrecisionOption = "fp32",
    bad_images: BadImagesOption = "raise",
    as_json: Annotated[bool, typer.Option("--json", help=_("One JSON object per line."))] = False,
) -> None:
    """Prints the likeliest classes of each image."""
    from vitrail.data.images import find_images
    from vitrail.train.prediction import Predictor

    predictor = Predictor(
        model,
        weights=weights,
        labels=parse_labels(labels),
        image_size=image_size,
        precision=cast(Any, precision),
    )
    predictions = predictor(find_images(images), top=top, bad_images=cast(Any, bad_images))
    for image, classes in predictions:
        if as_json:
            rounded = {label: round(value, 4) for label, value in classes.items()}
            out.print_json(json.dumps({"image": image, "classes": rounded}), indent=None)
        else:
            text = "  ".join(f"{name} {value:.1%}" for name, value in classes.items())
            out.print(f"{image}: {text}", highlight=False, markup=False)


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
