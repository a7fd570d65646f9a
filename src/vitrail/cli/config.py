"""`vitrail config`: every setting of a run, with its type, its default and its meaning."""

import json
import textwrap
from fnmatch import fnmatch
from typing import Annotated

import typer

from vitrail.cli.common import out
from vitrail.errors import ConfigError, suggest
from vitrail.messages import _, in_own_language

HELP = _("List the settings of `vitrail train`: type, default, meaning.")
EXAMPLES = ("vitrail config optim", "vitrail config 'data.augment.*'", "vitrail config lr")


def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help=_("Sections, settings, methods or patterns, such as optim, lr, mae, '*.drop*'.")
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help=_("Print JSON."))] = False,
) -> None:
    """Lists settings."""
    from vitrail.train.settings import list_settings

    settings = list_settings()
    if names:
        for name in names:
            if not any(_matches(setting.name, setting.method, name) for setting in settings):
                names_of_all = [x for s in settings for x in (s.name, *s.name.split("."))]
                raise ConfigError(
                    f"no setting {name!r}.{suggest(name, names_of_all)} `vitrail config` lists all."
                )
        settings = [s for s in settings if any(_matches(s.name, s.method, n) for n in names)]
    if as_json:
        rows = [{**s._asdict(), "default": s.default_text} for s in settings]
        out.print_json(json.dumps(rows))
        return
    for setting in settings:
        title = f"{setting.name} = {setting.default_text}"
        if setting.method:
            title += _("   (method {name})").format(name=setting.method)
        out.print(title, style="bold", highlight=False, markup=False)
        text = _("{kind} {meaning}").format(
            kind=in_own_language(f"{setting.kind}."), meaning=in_own_language(setting.meaning)
        )
        out.print(textwrap.indent(text, "    "), highlight=False, markup=False)


def _matches(setting: str, method: str, pattern: str) -> bool:
    """Whether a pattern names a setting: its section, its last word, its method, or a glob."""
    if setting.startswith(f"{pattern}.") or setting.endswith(f".{pattern}") or method == pattern:
        return True
    return fnmatch(setting, pattern)
