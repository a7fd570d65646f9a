"""The reference: a page per package, from the docstrings, which docs/zh_api has in Chinese.

python -m docs.reference    # texts of docstrings that docs/zh_api lacks, as lines for its files

docs/zh_api/*.toml hold the texts, English = Chinese: each paragraph of a docstring, and what its
sections say of an argument, a result or an error. Shapes, names and examples stay. A text that has
changed has no translation any more, and tests/test_reference.py names it.
"""

import functools
import importlib
import inspect
import json
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import FunctionType
from typing import Any

import tomllib

from docs import twins

TABLES = Path(__file__).with_name("zh_api")
PACKAGES = (
    "vitrail", "vitrail.models", "vitrail.layers", "vitrail.ops", "vitrail.methods", "vitrail.data",
    "vitrail.train", "vitrail.hub", "vitrail.lens", "vitrail.deploy", "vitrail.learn",
)  # fmt: skip
MEMBERS = (FunctionType, classmethod, staticmethod, property, cached_property)
SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields|Example):")
LISTS = ("Args", "Attributes", "Raises")  # sections of entries "name: text"


@functools.cache
def texts() -> dict[str, str]:
    """The translations, English = Chinese: those of the settings, and those of docs/zh_api."""
    tables = [tomllib.loads(file.read_text("utf-8")) for file in sorted(TABLES.glob("*.toml"))]
    return twins.texts() | dict(pair for table in tables for pair in table.items())


def objects(package: str) -> dict[str, Any]:
    """The public functions and classes of a package; of vitrail those that no other has."""
    module = importlib.import_module(package)
    others = PACKAGES[1:] if package == "vitrail" else ()
    elsewhere = {name for other in others for name in importlib.import_module(other).__all__}
    values = {name: getattr(module, name) for name in module.__all__ if name not in elsewhere}
    return {name: value for name, value in values.items() if callable(value)}


def page(package: str, language: str) -> str:
    """The source of a package's page."""
    about = inspect.cleandoc(importlib.import_module(package).__doc__ or "")
    lines = [f"# {package}", "", translate(about) if language == "zh" else about, ""]
    lines.append("```{eval-rst}")
    for name, value in objects(package).items():
        if not isinstance(value, type):
            lines += [f".. autofunction:: {package}.{name}", ""]
            continue
        fields = getattr(value, "_fields", ("model_config",))  # without docstrings of their own
        lines += [f".. autoclass:: {package}.{name}", "   :members:"]
        lines += [f"   :exclude-members: {', '.join(fields)}", ""]
    return "\n".join([*lines, "```"]) + "\n"


def docstrings() -> Iterator[tuple[str, str]]:
    """Every object of the pages, packages and methods too, and its docstring."""
    for package in PACKAGES:
        yield package, inspect.getdoc(importlib.import_module(package)) or ""
        for name, value in objects(package).items():
            yield f"{package}.{name}", inspect.getdoc(value) or ""
            for member, kind in vars(value).items() if isinstance(value, type) else ():
                doc = isinstance(kind, MEMBERS) and inspect.getdoc(getattr(value, member))
                if doc and not member.startswith("_"):
                    yield f"{package}.{name}.{member}", doc


def split(docstring: str) -> Iterator[tuple[str, str]]:
    """The texts of a docstring in one line each, after what stays: indent, and an entry's name.

    What is no text, such as an example, is all in the part that stays.
    """
    section, before, words = "", "", ""
    for line in [*docstring.splitlines(), ""]:
        heading = SECTION.fullmatch(line)
        indent = line[: len(line) - len(line.lstrip())]
        is_entry = section in LISTS and len(indent) == 4
        is_item = line.startswith(f"{indent}- ")
        is_literal = section == "Example" or (not section and not words and len(indent) >= 4)
        if words and (heading or is_entry or is_item or not line.strip()):
            yield before, words
            words = ""
        if heading or is_literal or not line.strip():
            section = heading[1] if heading else section
            yield line, ""
        elif words:
            words += f" {line.strip()}"
        elif is_entry or is_item:
            name, mark, words = line.partition(": " if is_entry else "- ")
            before = name + mark
        else:
            before, words = indent, line.strip()


def translate(docstring: str) -> str:
    """A docstring with the texts that docs/zh_api has in Chinese."""
    lines = [before + texts().get(words, words) for before, words in split(docstring)]
    return "\n".join(lines)


def missing() -> dict[str, str]:
    """Texts that docs/zh_api lacks, each with the first object that says it."""
    origins: dict[str, str] = {}
    for name, docstring in docstrings():
        for _before, words in split(docstring):
            if words and words not in texts():
                origins.setdefault(words, name)
    return origins


if __name__ == "__main__":
    for words, name in missing().items():
        print(f"{json.dumps(words, ensure_ascii=False)} = ''  # {name}")
