"""`vitrail info`: the shape of every stage."""

from typing import Annotated

import typer
from rich.table import Table

from vitrail.cli.common import Size, Weights, out


def run(
    model: Annotated[
        str, typer.Argument(help="A variant's name, a run, a model folder, a Hub id.")
    ],
    image_size: Size = None,
    weights: Weights = None,
) -> None:
    """Prints the shape of every stage, its parameters and multiply-adds for one image."""
    from vitrail.cli.common import open_model
    from vitrail.lens.shapes import shapes
    from vitrail.models.registry import create_model, variants

    if model in variants() and weights is None:
        import torch

        with torch.device("meta"):
            backbone = create_model(model)
    else:
        backbone = open_model(model, weights, None)
    size = (image_size, image_size) if image_size is not None else None
    table = Table("stage", "gives, for one image", box=None, header_style="bold")
    table.add_column("parameters", justify="right")
    table.add_column("multiply-adds", justify="right")
    for stage in shapes(backbone, size):
        counts = (f"{n:,}" if n else "" for n in (stage.parameters, stage.multiply_adds))
        style = "bold" if stage.name == "total" else None
        table.add_row(stage.name, stage.shape, *counts, style=style)
    out.print(f"{type(backbone).__name__} {model}", highlight=False)
    out.print(table)
    if backbone.origin:
        out.print(f"weights: {backbone.origin}", highlight=False)
    if backbone.labels:
        shown = ", ".join(backbone.labels[:10])
        more = f", and {len(backbone.labels) - 10} more" if len(backbone.labels) > 10 else ""
        out.print(f"classes: {shown}{more}", highlight=False)
