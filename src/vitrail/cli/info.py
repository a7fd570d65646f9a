"""`vitrail info`: the shape, parameters and multiply-adds of every stage."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from vitrail.cli.common import ForceOption, SizeOption, WeightsOption, check_new, err, out
from vitrail.errors import ConfigError
from vitrail.files import atomic_write
from vitrail.messages import _

if TYPE_CHECKING:
    from vitrail.lens.shapes import ShapeRow

HELP = _("Print the shape of every stage. With its parameters and multiply-adds for one image.")
EXAMPLES = (
    "vitrail info vit_base_patch16_224",
    "vitrail info vit_base_patch16_224 --depth 2 --batch 2",
    "vitrail info runs/photos --out shapes.svg",
)


def run(
    model: Annotated[
        str, typer.Argument(help=_("A variant's name, a run, a model folder or a Hub id."))
    ],
    image_size: SizeOption = None,
    weights: WeightsOption = None,
    depth: Annotated[
        int,
        typer.Option(min=1, help=_("1: stages. 2: q, k, v, attention, MLP in them. 3: more.")),
    ] = 1,
    batch: Annotated[
        int, typer.Option(min=1, max=2**24, help=_("Images in a batch, for shapes."))
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help=_("Print the stages as JSON."))] = False,
    output: Annotated[
        Path | None, typer.Option("--out", "-o", help=_("Write them to an .svg or .json file."))
    ] = None,
    force: ForceOption = False,
) -> None:
    """Prints a model's stages as a table."""
    from vitrail.layers.patch import to_tuple
    from vitrail.lens.shape_drawing import shapes_svg
    from vitrail.lens.shapes import shapes
    from vitrail.models.registry import new_model, variants

    if output is not None:
        if output.suffix not in (".svg", ".json"):
            raise ConfigError(f"--out {output} is neither .svg nor .json.")
        check_new(output, force)
    if model in variants() and weights is None:
        import torch

        with torch.device("meta"):
            backbone = new_model(model)
    else:
        import vitrail

        backbone = vitrail.load(model, weights=weights)
    size = None if image_size is None else to_tuple(image_size, len(backbone.image_size))
    rows = shapes(backbone, size, depth=depth, batch=batch)
    title = f"{type(backbone).__name__} {model}"
    text = json.dumps([row._asdict() for row in rows], indent=1) + "\n"
    if output is not None:
        atomic_write(output, shapes_svg(rows, title) if output.suffix == ".svg" else text)
        err.print(_("written: {path}").format(path=output), highlight=False)
    if as_json:
        out.print(text.rstrip(), highlight=False)
        return
    out.print(title, highlight=False)
    out.print(_table(rows, with_batch=depth > 1 or batch > 1))
    if backbone.origin:
        text = _("weights: {origin}").format(origin=backbone.origin)
        out.print(text, highlight=False, markup=False)
    if backbone.labels:
        names, rest = ", ".join(backbone.labels[:10]), len(backbone.labels) - 10
        text = _("classes: {names}, and {n} more") if rest > 0 else _("classes: {names}")
        out.print(text.format(names=names, n=rest), highlight=False, markup=False)


def _table(rows: "Sequence[ShapeRow]", with_batch: bool) -> Table:
    heading = _("output") if with_batch else _("output for one image")
    table = Table(_("stage"), heading, box=None, header_style="bold")
    table.add_column(_("parameters"), justify="right")
    table.add_column(_("multiply-adds"), justify="right")
    for row in rows:
        counts = (f"{n:,}" if n else "" for n in (row.parameters, row.multiply_adds))
        style = "bold" if row.name == "total" else "dim" if row.level > 1 else None
        sizes = f"({', '.join(map(str, row.sizes))})" if row.sizes else ""
        name = "  " * (row.level - 1) + row.name
        table.add_row(name, sizes if with_batch else row.shape, *counts, style=style)
    return table
