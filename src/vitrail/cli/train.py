"""`vitrail train`: from images to a model and a report."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from vitrail.cli.common import out
from vitrail.errors import ConfigError


def run(
    what: Annotated[
        str | None,
        typer.Argument(
            help="A recipe (.yaml) or images: folder:PATH, hub:NAME, fashion-mnist, ..."
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings that differ, such as optim.lr=0.001.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", "-o", help="The run's folder. Default: runs/NAME.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run stopped.")] = False,
) -> None:
    """Trains a model and writes a report. Docs: docs/config.md lists all settings."""
    from vitrail.lens.report import percent, write_report
    from vitrail.train.trainer import train
    from vitrail.train.config import make_config, read_config

    changes = list(overrides or ())
    if what is not None and "=" in what.split(":")[0]:
        changes.insert(0, what)
        what = None
    if what is None:
        if not (resume and folder is not None):
            raise ConfigError(
                "nothing to train on: give a recipe or images, as in `vitrail train folder:PHOTOS`."
            )
        settings, name = read_config(folder / "run.yaml", changes), folder.name
    elif what.endswith((".yaml", ".yml")):
        settings, name = read_config(what, changes), Path(what).stem
    else:
        settings = make_config({"data": {"source": what}}, changes)
        name = Path(what.partition(":")[2] or what).name
    folder = folder or Path("runs") / name
    command = shlex.join(["vitrail", *sys.argv[1:]])
    figures = train(settings, folder, resume=resume, command=command)
    if not figures:  # one of several processes, and not the first
        return
    report = write_report(folder)
    if "top1" in figures:
        judge = f" by {figures['judge']}" if "judge" in figures else ""
        told = f"accuracy {percent(figures['top1'])}{judge} on {figures['split']}"
        out.print(told, highlight=False)
    out.print(f"model:  {folder / 'model'}\nreport: {report}", highlight=False)
