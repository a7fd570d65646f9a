"""The page of recipes names every recipe, with the figures that its file states."""

import re
from pathlib import Path

import pytest

from tests.pages import ROOT

RECIPES = ROOT / "recipes"
ROW = re.compile(r"^\| `([\w.]+)` \| (.*) \|$", re.MULTILINE)
NUMBER = re.compile(r"\d+(?:\.\d+)?(?= %| minutes| 分钟| to )|[Hh]alf a minute|半分钟")


def page(language: str) -> str:
    return (ROOT / "docs" / language / "recipes.md").read_text("utf-8")


def header(name: str) -> str:
    """The comments that a recipe begins with."""
    path = next(folder / name for folder in folders() if (folder / name).is_file())
    lines = [line.lstrip("# ") for line in path.read_text("utf-8").splitlines() if line[:1] == "#"]
    return " ".join(lines)


def folders() -> list[Path]:
    return [RECIPES, RECIPES / "methods", RECIPES / "papers"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_recipe_is_on_the_page(language: str) -> None:
    names = {path.name for folder in folders() for path in folder.glob("*.yaml")}
    assert {name for name in names if f"`{name}`" not in page(language)} == set()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_figures_are_those_of_the_recipes(language: str) -> None:
    rows = ROW.findall(page(language))
    assert len(rows) > 25
    for name, cells in rows:
        stated = header(name).lower()
        for figure in NUMBER.findall(cells):
            expected = "half a minute" if "分" in figure else figure.lower()
            assert expected in stated, (name, figure)
