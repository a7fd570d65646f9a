"""`vitrail models`: what there is to build."""

import fnmatch
from typing import Annotated

import typer

from vitrail.cli.common import out
from vitrail.errors import ConfigError


def run(
    pattern: Annotated[str, typer.Argument(help="A shell pattern, such as 'deit*'.")] = "*",
) -> None:
    """Lists the models that can be built by name: parameters, multiply-adds for one image."""
    from vitrail.models.catalog import catalogue, multiply_adds

    found = False
    for entry in catalogue():
        names = fnmatch.filter(entry.variants, pattern)
        if not names:
            continue
        found = True
        paper, weights = entry.paper, ", ".join(entry.weights)
        out.print(
            f"[bold]{entry.model.__name__}[/bold]  {paper.year}, {paper.url}, {entry.tier}"
            f"{weights and f', weights: {weights}'}",
            highlight=False,
        )
        for name in names:
            parameters, work = entry.variants[name] / 1e6, multiply_adds()[name] / 1e9
            out.print(f"  {name:<46} {parameters:7.1f} M {work:8.2f} G", highlight=False)
    if not found:
        raise ConfigError(f"no model matches {pattern!r}: `vitrail models` lists all.")
