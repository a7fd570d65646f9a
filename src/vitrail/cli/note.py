"""`vitrail note`: keeps a remark with a run, for its report."""

from pathlib import Path
from typing import Annotated

import typer

from vitrail.cli.common import out
from vitrail.errors import ConfigError
from vitrail.messages import _

HELP = _("Keep a remark with a run. Its report shows it with the date.")
EXAMPLES = ('vitrail note runs/photos "the lamp was broken in the second half"',)


def run(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help=_("A run's folder."))],
    text: Annotated[str, typer.Argument(help=_("The remark."))],
) -> None:
    """Adds a remark to a run."""
    from vitrail.lens.report_page import write_report
    from vitrail.run_folder import RunFolder

    run_folder = RunFolder(folder)
    if not run_folder.exists:
        raise ConfigError(f"{folder} holds no run: give the folder that `vitrail train` wrote.")
    if not text.strip():
        raise ConfigError("the remark is empty: write it in quotes after the run's folder.")
    run_folder.add_note(text)
    path = write_report(run_folder)
    out.print(_("report: {path}").format(path=path), highlight=False, markup=False)
