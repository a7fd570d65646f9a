"""`vitrail predict`: what is in these images."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitrail.cli.common import (
    BadImages,
    Images,
    Model,
    Precision,
    Size,
    Weights,
    kept_method,
    naming,
    open_model,
    out,
    prepare,
    read_images,
)
from vitrail.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 32


def run(
    images: Images,
    model: Model,
    weights: Weights = None,
    labels: Annotated[
        str | None, typer.Option(help="What they may show, for CLIP: 'a cat,a dog,a bicycle'.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Classes to name for each image.")] = 3,
    image_size: Size = None,
    precision: Precision = "fp32",
    bad_images: BadImages = "raise",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Names the likeliest classes of each image."""
    import torch

    backbone = open_model(model, weights, image_size)
    wanted = [part.strip() for part in labels.split(",")] if labels is not None else None
    if wanted is not None and (len(wanted) < 2 or not all(wanted)):
        raise ConfigError(f"--labels {labels!r} names no two things: write 'a cat,a dog'.")
    method = None
    if wanted is not None or not backbone.num_classes:
        method = kept_method(weights or model, wanted)
        backbone.labels = wanted or backbone.labels
    assert backbone.preprocess is not None
    names = backbone.labels or [str(i) for i in range(backbone.num_classes)]
    waiting: list[tuple[Path, Tensor]] = []

    module: torch.nn.Module | None = None

    def flush() -> None:
        nonlocal module
        with torch.inference_mode():
            crops = torch.stack([crop for _, crop in waiting])
            module = module or naming(prepare(backbone, precision, crops), method)
            parts = module(backbone.preprocess.normalise(crops)).softmax(1)
        best, which = parts.topk(min(top, len(names)), dim=1)
        for (path, _), row, places in zip(waiting, best.tolist(), which.tolist(), strict=True):
            likely = {names[i]: round(part, 4) for i, part in zip(places, row, strict=True)}
            if as_json:
                out.print_json(json.dumps({"image": str(path), "classes": likely}), indent=None)
            else:
                told = "  ".join(f"{name} {part:.1%}" for name, part in likely.items())
                out.print(f"{path}: {told}", highlight=False, markup=False)
        waiting.clear()

    for item in read_images(backbone, images, bad_images):
        waiting.append(item)
        if len(waiting) == BATCH:
            flush()
    if waiting:
        flush()
