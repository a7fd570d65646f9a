"""The table of models says what the models are."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tools import evidence
from vitrail.cli.main import build_app
from vitrail.models.catalog import catalogue, count_multiply_adds, multiply_adds, paper_of
from vitrail.models.registry import variants
from vitrail.models.swin import Swin

DOCS = Path(__file__).parents[2] / "docs"


def build() -> Any:
    """The script that writes the documentation."""
    pytest.importorskip("markdown")
    spec = importlib.util.spec_from_file_location("build", DOCS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_variant_is_in_it_once() -> None:
    names = [name for entry in catalogue() for name in entry.variants]
    assert sorted(names) == sorted(variants())
    assert paper_of(Swin).year == 2021


@pytest.mark.parametrize("variant", sorted(variants()))
def test_multiply_adds_are_counted_as_written(variant: str) -> None:
    assert multiply_adds()[variant] == count_multiply_adds(variant), "run `make docs`"


def test_multiply_adds_are_about_as_published() -> None:
    """Of papers: DeiT-S 4.6 G, Swin-T 4.5 G, ViT-B/16 17.6 G."""
    for name, published in (
        ("deit_small_patch16_224", 4.6),
        ("swin_tiny_patch4_window7_224", 4.5),
        ("vit_base_patch16_224", 17.6),
    ):
        assert multiply_adds()[name] / 1e9 == pytest.approx(published, abs=0.06)


def test_the_pages_are_up_to_date() -> None:
    page = (DOCS / "models.md").read_text("utf-8")
    assert page == build().models_page(multiply_adds()), "run `make docs`"
    page = (DOCS / "zoo.md").read_text("utf-8")
    assert page == build().zoo_page(), "run `make docs`"
    page = (DOCS / "it_helps.md").read_text("utf-8")
    assert page == build().helps_page(), "run `make docs`"
    page = evidence.page(evidence.read_rows(), evidence.RESULTS)
    assert page == evidence.PAGE.read_text("utf-8"), "run `make docs`"
    page = (DOCS / "config.md").read_text("utf-8")
    assert page == build().config_page(), "run `make docs`"


def test_the_command_line_lists_it() -> None:
    told = CliRunner().invoke(build_app(), ["models", "swin_tiny*"]).output
    assert "Swin  2021, https://arxiv.org/abs/2103.14030, pyramid" in told
    assert "28.3 M" in told
    assert "4.49 G" in told
