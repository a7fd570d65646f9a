"""`vitrail check`: whether parts of the user's own keep the contract."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from vitrail.cli.common import err, out
from vitrail.messages import _, ngettext

HELP = _("Run the contract suite. On models and other parts; it says what to mend.")
KINDS = {
    "model": _("model"), "method": _("method"), "dataset": _("dataset"),
    "transform": _("transform"), "optimizer": _("optimizer"),
    "explanation": _("explanation"), "mixer": _("mixer"),
}  # fmt: skip
EXAMPLES = ("vitrail check my_model.py", "vitrail check vit_tiny_patch16_224")


def run(
    what: Annotated[
        str,
        typer.Argument(help=_("A .py file, whose code runs, or a name: of a model, a method, ...")),
    ],
) -> None:
    """Checks parts of the user's own, or of Vitrail."""
    from vitrail.contract.suite import SUITES, check_part, parts_of

    broken = 0
    for kind, name in parts_of(what):
        table = Table("", f"{KINDS[kind]} {name}", box=None, header_style="bold")
        count, problems = len(SUITES[kind].checks), []
        with err.status(_("checking {name}").format(name=name)) as status:
            for number, (check, problem) in enumerate(check_part(kind, name), 1):
                status.update(f"{name}: {number} / {count}")
                mark = Text("✗", style="red") if problem else Text("✓", style="green")
                table.add_row(mark, check.name)
                if problem:
                    line = (
                        _("{check}: {problem}.")
                        if not check.cure
                        else _("{check}: {problem}. Cure: {cure}.")
                    )
                    values = {"check": check.name, "problem": problem, "cure": check.cure}
                    problems.append(line.format(**values))
        out.print(table)
        for text in problems:
            out.print(f"   {text}", highlight=False, markup=False)
        broken += len(problems)
    if broken:
        text = ngettext("{n} check failed.", "{n} checks failed.", broken)
        out.print(text.format(n=broken), style="bold", highlight=False)
        raise typer.Exit(1)
    out.print(_("All checks passed."), style="bold")
