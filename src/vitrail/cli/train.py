"""`vitrail train`: from images to a model and a report."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from vitrail.cli.common import out
from vitrail.errors import ConfigError
from vitrail.intervals import interval_text
from vitrail.messages import _

HELP = _("Train a model and write a report. docs/config.md lists all settings.")
EXAMPLES = (
    "vitrail train folder:PHOTOS",
    "vitrail train folder:PHOTOS schedule.epochs=30 optim.lr=3e-4",
    "vitrail train recipe.yaml --out runs/first",
)


def run(
    what: Annotated[
        str | None,
        typer.Argument(
            help=_("A recipe (.yaml) or images: folder:PATH, hub:NAME, fashion-mnist, ...")
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help=_("Settings that differ, such as optim.lr=0.001."))
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", "-o", help=_("The run's folder. Default: runs/NAME."))
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help=_("Continue a run where it stopped."))
    ] = False,
) -> None:
    """Trains a model."""
    from vitrail.lens.report_data import percent
    from vitrail.run_folder import RunFolder
    from vitrail.train.config import make_config, read_config
    from vitrail.train.runs import default_folder, train_and_report

    changes = list(overrides or ())
    if what is not None and "=" in what.split(":")[0]:
        changes.insert(0, what)
        what = None
    if what is None:
        if not (resume and folder is not None):
            raise ConfigError(
                "nothing to train on: give a recipe or images, as in `vitrail train folder:PHOTOS`."
            )
        config = read_config(RunFolder(folder).settings_file, changes)
    elif what.endswith((".yaml", ".yml")):
        config = read_config(what, changes)
        folder = folder or default_folder(Path(what).stem)
    else:
        config = make_config({"data": {"source": what}}, changes)
        folder = folder or default_folder(what)
    command = shlex.join(["vitrail", *sys.argv[1:]])
    result = train_and_report(config, folder, resume=resume, command=command)
    if not result.metrics:  # one of several processes, and not the first
        return
    if "top1" in result.metrics:
        text = _("accuracy {accuracy} on {split} (95 % interval: {interval})")
        if "evaluated_by" in result.details:
            text = _("accuracy {accuracy} by {evaluator} on {split} (95 % interval: {interval})")
        text = text.format(
            accuracy=percent(result.metrics["top1"]),
            interval=interval_text(result.metrics["top1_low"], result.metrics["top1_high"]),
            evaluator=result.details.get("evaluated_by"),
            split=result.details["split"],
        )
        out.print(text, highlight=False, markup=False)
    model_folder = RunFolder(folder).model_folder
    out.print(_("model:  {path}").format(path=model_folder), highlight=False)
    out.print(_("report: {path}").format(path=result.report), highlight=False)
