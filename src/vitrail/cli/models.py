"""`vitrail models`: what there is to build."""

from typing import Annotated

import typer
from rich.table import Table

from vitrail.cli.common import out
from vitrail.errors import ConfigError


def run(
    pattern: Annotated[str, typer.Argument(help="A shell pattern, such as 'deit*'.")] = "*",
) -> None:
    """Lists the models that can be built by name."""
    from vitrail.models.registry import list_models, variants

    names = list_models(pattern)
    if not names:
        raise ConfigError(f"no model matches {pattern!r}: `vitrail models` lists all.")
    table = Table("name", "class", "image", "patch", box=None, header_style="bold")
    table.add_column("parameters", justify="right")
    for name in names:
        model, variant = variants()[name]
        keywords = variant.keywords
        table.add_row(
            name,
            model.__name__,
            str(keywords["image_size"]),
            str(keywords.get("patch_size", "")),
            f"{variant.parameters:,}",
        )
    out.print(table)
