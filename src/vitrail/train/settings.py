"""What can be set: every setting of a run, with its type, its default and its meaning."""

import dataclasses
import inspect
import re
import typing
from collections.abc import Iterator
from typing import NamedTuple

import pydantic

from vitrail.methods.registry import get_method, list_methods, settings_of
from vitrail.train.config import RunConfig
from vitrail.train.sections import MethodConfig
from vitrail.values import describe_annotation

REQUIRED = inspect.Parameter.empty


class Setting(NamedTuple):
    """A setting of a run.

    Args:
        name: as on the command line, such as "optim.lr".
        kind: what values it takes, in words.
        default: its default; `REQUIRED` where it has none.
        meaning: what it does.
        method: the method whose setting it is; "" for settings of every run.

    Example:
        >>> Setting("optim.lr", "a number above 0", 1e-3, "Learning rate.").default_text
        '0.001'
    """

    name: str
    kind: str
    default: object
    meaning: str
    method: str = ""

    @property
    def default_text(self) -> str:
        """The default as text, "required" where there is none."""
        return "required" if self.default is REQUIRED else str(self.default)


def list_settings() -> list[Setting]:
    """Every setting of a run, by section, and those of every method.

    Returns:
        The settings, in the order of docs/en/config.md.

    Example:
        >>> [setting.name for setting in list_settings() if setting.name.endswith(".epochs")]
        ['schedule.epochs']
    """
    settings: list[Setting] = []
    for name, field in RunConfig.model_fields.items():
        if name == "method":
            settings += _of_section(MethodConfig, "method.")
            for method in list_methods():
                settings += _of_method(method)
        else:
            settings += _of_section(
                typing.cast(type[pydantic.BaseModel], field.annotation), name + "."
            )
    return settings


def _of_section(section: type[pydantic.BaseModel], prefix: str) -> Iterator[Setting]:
    """The settings of a section; those of a nested dataclass one by one."""
    hints = typing.get_type_hints(section, include_extras=True)
    for name, field in section.model_fields.items():
        default = field.get_default(call_default_factory=True)
        if not dataclasses.is_dataclass(default):
            kind = describe_annotation(hints[name])
            value = REQUIRED if field.is_required() else default
            yield Setting(prefix + name, kind, value, field.description or "")
            continue
        texts = argument_texts(type(default).__doc__)
        nested = typing.get_type_hints(type(default))
        for part in dataclasses.fields(default):
            kind, text = describe_annotation(nested[part.name]), texts.get(part.name, "")
            yield Setting(f"{prefix}{name}.{part.name}", kind, part.default, text)


def _of_method(name: str) -> Iterator[Setting]:
    """The settings of a method, the keywords of its constructor."""
    method = get_method(name)
    texts = argument_texts(method.__doc__)
    hints = typing.get_type_hints(method.__init__, include_extras=True)
    for key, parameter in settings_of(name).items():
        kind = describe_annotation(str if key in method.named else hints[key])
        yield Setting(f"method.{key}", kind, parameter.default, texts.get(key, ""), name)


def argument_texts(docstring: str | None) -> dict[str, str]:
    """The descriptions of a docstring's `Args:`.

    Args:
        docstring: of a class or function.

    Returns:
        Descriptions by argument, each in one line.

    Example:
        >>> argument_texts(argument_texts.__doc__)
        {'docstring': 'of a class or function.'}
    """
    lines = inspect.cleandoc(docstring or "").partition("\nArgs:\n")[2].splitlines()
    texts: dict[str, str] = {}
    name = ""
    for line in lines:
        if line and not line.startswith(" "):
            break
        if match := re.match(r" {4}(\w+): (.*)", line):
            name, texts[match[1]] = match[1], match[2]
        elif line.strip() and name:
            texts[name] += f" {line.strip()}"
    return texts
