"""`vitrail convert`: weights of other libraries, and checkpoints of runs, as a Vitrail folder."""

from pathlib import Path
from typing import Annotated

import typer

from vitrail.cli.common import out
from vitrail.errors import ConfigError
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

    if destination.exists():
        raise ConfigError(f"{destination} exists: choose a new folder.")
    path, run_folder = Path(source), RunFolder(source)
    has_ended = run_folder.model_folder.is_dir()  # its model may be of an earlier, better epoch
    if (run_folder.exists and not has_ended) or path.parent.name == "checkpoints":
        from vitrail.train.checkpoint_model import save_checkpoint_model

        folder = save_checkpoint_model(path, destination)
    else:
        folder = convert(source, destination, architecture=architecture)
    out.print(_("written: {path}").format(path=folder), highlight=False)
