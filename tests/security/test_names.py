"""Names of classes and files from strangers, in terminals and on pages."""

from html.parser import HTMLParser
from pathlib import Path

import pytest

from vitrail.cli import common
from vitrail.errors import DataError, printable
from vitrail.lens import html
from vitrail.lens.report_classes import class_sections
from vitrail.lens.report_data import read_report
from vitrail.run_folder import RunFolder
from vitrail.train.console import note

CONTROLS = [
    "\x1b[2J",
    "\x1b]0;title\x07",
    "\x9b31m",
    "\r",
    "\b\b",
    "\0",
    "\x7f",
    "\u202e",
    "\u2066",
]
MARKUP = [
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "<svg onload=alert(1)>",
    "' onmouseover='alert(1)", "</style><script>", "</title><b>", "<!--", "&lt;", "]]>",
]  # fmt: skip


@pytest.mark.parametrize("name", CONTROLS, ids=ascii)
def test_terminals_get_no_controls(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    common.out.print(f"{name}cat", highlight=False)
    common.err.print(f"{name}cat", highlight=False)
    note(f"{name}cat")
    printed = "".join(capfd.readouterr()) + str(DataError(f"{name}cat"))
    assert not set(name) & set(printed) - set("[2J]0;title31m")
    assert "cat" in printed


def test_what_is_printable_stays() -> None:
    text = "café 猫 [red] \U0001f408\ttab\nline"
    assert printable(text) == text


@pytest.mark.parametrize("name", MARKUP)
def test_pages_have_no_markup_from_names(name: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    evaluation = {"labels": [name, "dog"], "confusion": [[3, 1], [1, 4]], "mistakes": []}
    run.write_evaluation({"top1": 0.875, **evaluation})
    parts = [
        *class_sections(read_report(run)),
        html.section(name, html.paragraph(name)),
        html.headline([(name, name)]),
    ]
    page = html.write_page(tmp_path / "page.html", name, name, parts).read_text("utf-8")
    assert name not in page
    elements = _Elements()
    elements.feed(page)
    assert not {"script", "svg", "img"} & set(elements.tags)
    assert [elements.tags.count(tag) for tag in ("title", "style")] == [1, 1]
    assert not [key for key in elements.attributes if key.startswith("on")]


class _Elements(HTMLParser):
    """The tags and attributes of a page, as a browser takes them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [key for key, _value in attrs]
