"""`vitrail report`: writes the report of a run again."""

from pathlib import Path
from typing import Annotated

import typer

from vitrail.cli.common import out
from vitrail.messages import _

HELP = _("Write a run's report again, also of a run that stopped early.")
EXAMPLES = ("vitrail report runs/photos",)


def run(folder: Annotated[Path, typer.Argument(metavar="RUN", help=_("A run's folder."))]) -> None:
    """Writes the report of a run."""
    from vitrail.lens.report_page import write_report

    path = write_report(folder)
    out.print(_("report: {path}").format(path=path), highlight=False, markup=False)
