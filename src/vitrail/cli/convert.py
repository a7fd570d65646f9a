"""`vitrail convert`: weights of other libraries, and checkpoints of runs, as a Vitrail folder."""

from pathlib import Path
from typing import Annotated

import typer

from vitrail.cli.common import out
from vitrail.messages import _

HELP = _("Rewrite a model as safetensors. Reads .bin and .pth safely.")
EXAMPLES = (
    "vitrail convert facebook/deit-tiny-patch16-224 deit_tiny",
    "vitrail convert runs/pets/checkpoints/step-00000100 pets_100",
)


def run(
    source: Annotated[
        str,
        typer.Argument(
            help=_(
                "A folder or Hub id of transformers or timm, a file of weights, or a run or one of "
                "its checkpoints."
            )
        ),
    ],
    destination: Annotated[Path, typer.Argument(help=_("The folder to write."))],
    architecture: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="NAME",
            help=_("The architecture of weights without a config, such as vit_small_patch16_224."),
        ),
    ] = None,
) -> None:
    """Converts a model's weights and settings."""
    from vitrail.hub.convert import convert
    from vitrail.run_folder import RunFolder

    path = Path(source)
    if RunFolder(path).exists or path.parent.name == "checkpoints":
        from vitrail.train.checkpoint_model import save_checkpoint_model

        folder = save_checkpoint_model(path, destination)
    else:
        folder = convert(source, destination, architecture=architecture)
    out.print(_("written: {path}").format(path=folder), highlight=False)
