"""`vitrail methods`: what a model can be trained to do."""

import inspect
import sys

from vitrail.cli.common import out


def run() -> None:
    """Lists the methods, whom each can train, and its settings with their defaults."""
    from vitrail.methods.registry import methods, settings_of

    for name, method in methods().items():
        tiers = " or ".join(tier.__name__ for tier in method.tier)
        whom = "every model" if tiers == "Backbone" else f"{tiers} models"
        paper = (sys.modules[method.__module__].__doc__ or "").split("\n\n")[0]
        first = " ".join((inspect.getdoc(method) or "").split("\n\n")[0].split())
        out.print(f"[bold]{name}[/bold]  {whom}", highlight=False)
        out.print(f"  {' '.join(paper.split())}\n  {first}", highlight=False, markup=False)
        settings = [
            key if value.default is value.empty else f"{key}={value.default!r}"
            for key, value in settings_of(name).items()
        ]
        if settings:
            out.print(f"  method: {', '.join(settings)}", highlight=False, markup=False)
