"""`vitrail convert`: other people's weights as a Vitrail folder."""

from pathlib import Path
from typing import Annotated

import typer

from vitrail.cli.common import out


def run(
    source: Annotated[
        str, typer.Argument(help="A folder or Hub id of transformers or timm, or a Vim .pth.")
    ],
    destination: Annotated[Path, typer.Argument(help="The folder to make.")],
) -> None:
    """Rewrites a model as config.json and model.safetensors; reads .bin and .pth safely."""
    from vitrail.hub.load import convert

    out.print(f"written: {convert(source, destination)}", highlight=False)
