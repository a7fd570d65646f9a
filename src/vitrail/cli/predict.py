"""`vitrail predict`: the likeliest classes of images."""

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from vitrail.cli.common import (
    BadImagesOption,
    ImagesArgument,
    ModelOption,
    PrecisionOption,
    SizeOption,
    WeightsOption,
    classifier,
    load_classifying_method,
    open_model,
    out,
    prepare,
    read_images,
)
from vitrail.errors import ConfigError
from vitrail.messages import _

if TYPE_CHECKING:
    from torch import nn

HELP = _("Name the likeliest classes of each image.")
BATCH_SIZE = 32
Item = TypeVar("Item")


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
    import torch

    backbone = open_model(model, weights, image_size)
    class_names = parse_labels(labels)
    method = None
    if class_names is not None or not backbone.num_classes:
        method = load_classifying_method(weights or model, class_names)
        backbone.labels = class_names or backbone.labels
    names = backbone.labels or [str(i) for i in range(backbone.num_classes)]
    module: nn.Module | None = None
    for batch in batches(read_images(backbone, images, bad_images), BATCH_SIZE):
        crops = torch.stack([crop for _path, crop in batch])
        with torch.inference_mode():
            module = module or classifier(prepare(backbone, precision, crops), method)
            probabilities = module(backbone.preprocess.normalise(crops)).softmax(1)
        best = probabilities.topk(min(top, len(names)), dim=1)
        rows = zip(best.values.tolist(), best.indices.tolist(), strict=True)
        for (path, _crop), (values, indices) in zip(batch, rows, strict=True):
            classes = {names[i]: round(p, 4) for i, p in zip(indices, values, strict=True)}
            if as_json:
                out.print_json(json.dumps({"image": str(path), "classes": classes}), indent=None)
            else:
                text = "  ".join(f"{name} {value:.1%}" for name, value in classes.items())
                out.print(f"{path}: {text}", highlight=False, markup=False)


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


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Items in lists of equal length, of which the last may be shorter.

    Args:
        items: any items, which are read as they are needed.
        size: length of a list.

    Yields:
        The lists.

    Example:
        >>> list(batches([1, 2, 3], 2))
        [[1, 2], [3]]
    """
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
