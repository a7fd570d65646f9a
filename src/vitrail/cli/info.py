"""`vitrail info`: the shape, parameters and multiply-adds of every stage."""

from typing import Annotated

import typer
from rich.table import Table

from vitrail.cli.common import SizeOption, WeightsOption, out
from vitrail.messages import _

HELP = _("Print the shape of every stage. With its parameters and multiply-adds for one image.")
EXAMPLES = ("vitrail info vit_base_patch16_224", "vitrail info runs/photos")


def run(
    model: Annotated[
        str, typer.Argument(help=_("A variant's name, a run, a model folder or a Hub id."))
    ],
    image_size: SizeOption = None,
    weights: WeightsOption = None,
) -> None:
    """Prints a model's stages as a table."""
    from vitrail.layers.patch import to_tuple
    from vitrail.lens.shapes import shapes
    from vitrail.models.registry import new_model, variants

    if model in variants() and weights is None:
        import torch

        with torch.device("meta"):
            backbone = new_model(model)
    else:
        import vitrail

        backbone = vitrail.load(model, weights=weights)
    size = None if image_size is None else to_tuple(image_size, len(backbone.image_size))
    table = Table(_("stage"), _("output for one image"), box=None, header_style="bold")
    table.add_column(_("parameters"), justify="right")
    table.add_column(_("multiply-adds"), justify="right")
    for row in shapes(backbone, size):
        counts = (f"{n:,}" if n else "" for n in (row.parameters, row.multiply_adds))
        style = "bold" if row.name == "total" else None
        table.add_row(row.name, row.shape, *counts, style=style)
    out.print(f"{type(backbone).__name__} {model}", highlight=False)
    out.print(table)
    if backbone.origin:
        text = _("weights: {origin}").format(origin=backbone.origin)
        out.print(text, highlight=False, markup=False)
    if backbone.labels:
        names, rest = ", ".join(backbone.labels[:10]), len(backbone.labels) - 10
        text = _("classes: {names}, and {n} more") if rest > 0 else _("classes: {names}")
        out.print(text.format(names=names, n=rest), highlight=False, markup=False)
