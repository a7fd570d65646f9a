"""`vitrail models`: the models that can be built by name."""

import fnmatch
from typing import Annotated

import typer

from vitrail.cli.common import out
from vitrail.errors import ConfigError
from vitrail.messages import _

HELP = _("List the models that can be built by name: parameters, and multiply-adds for one image.")


def run(
    pattern: Annotated[
        str, typer.Argument(help=_("A pattern of names, such as 'deit*'. Default: all."))
    ] = "*",
) -> None:
    """Lists the variants of all models."""
    from vitrail.hub.converters import published_weights
    from vitrail.models.catalog import model_infos, multiply_adds

    origins = published_weights()
    count = 0
    for info in model_infos():
        names = fnmatch.filter(info.variants, pattern)
        if not names:
            continue
        count += len(names)
        weights = ", ".join(origins.get(info.model, ()))
        weights = _(", weights: {origins}").format(origins=weights) if weights else ""
        title = f"[bold]{info.model.__name__}[/bold]"
        paper = f"{info.paper.year}, {info.paper.url}"
        out.print(f"{title}  {paper}, {info.tier}{weights}", highlight=False)
        for name in names:
            parameters, work = info.variants[name] / 1e6, multiply_adds()[name] / 1e9
            out.print(f"  {name:<46} {parameters:7.1f} M {work:8.2f} G", highlight=False)
    if not count:
        raise ConfigError(f"no model matches {pattern!r}: `vitrail models` lists all.")
