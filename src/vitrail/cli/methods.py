"""`vitrail methods`: what a model can be trained to do."""

import inspect

from vitrail.cli.common import out
from vitrail.messages import _

HELP = _("List the methods, the models each can train, and its settings with their defaults.")


def run() -> None:
    """Lists the training methods."""
    from vitrail.methods.registry import get_method, list_methods, settings_of

    for name in list_methods():
        method = get_method(name)
        tiers = _(" or ").join(tier.__name__ for tier in method.tier)
        scope = _("every model") if tiers == "Backbone" else _("{tiers} models").format(tiers=tiers)
        out.print(f"[bold]{name}[/bold]  {scope}", highlight=False)
        first_line = (inspect.getdoc(method) or "").partition("\n")[0]
        paper = f'  "{method.paper.title}" ({method.paper}, {method.paper.url})'
        out.print(f"  {first_line}\n{paper}", highlight=False, markup=False)
        settings = [
            key if parameter.default is parameter.empty else f"{key}={parameter.default!r}"
            for key, parameter in settings_of(name).items()
        ]
        if settings:
            text = _("settings: {names}").format(names=", ".join(settings))
            out.print(f"  {text}", highlight=False, markup=False)
