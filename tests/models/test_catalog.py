"""The table of models says what the models are."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from tools import evidence
from vitrail.cli.main import build_app
from vitrail.lens.shapes import count_multiply_adds, shapes
from vitrail.methods.registry import get_method, list_methods
from vitrail.methods.regression import Regression
from vitrail.models.catalog import model_infos, multiply_adds
from vitrail.models.registry import model_classes, new_model, variants

DOCS = Path(__file__).parents[2] / "docs"


def build() -> Any:
    """The script that writes the documentation."""
    spec = importlib.util.spec_from_file_location("build", DOCS / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_variant_is_in_it_once() -> None:
    names = [name for info in model_infos() for name in info.variants]
    assert sorted(names) == sorted(variants())


def test_every_model_and_method_states_its_own_paper() -> None:
    """Inherited ones would be another's: each class has the attribute itself."""
    for owner in (*model_classes().values(), *map(get_method, list_methods())):
        paper = vars(owner)["paper"]
        assert paper.title and paper.authors
        if owner is Regression:  # Huber's paper is older than arXiv
            continue
        assert paper.url.startswith("https://arxiv.org/abs/"), owner
        # The first version's year is that of the number of arXiv, or of the year before.
        year = 2000 + int(paper.url.rpartition("/")[2][:2])
        assert paper.year == year, owner
    assert str(model_classes()["Swin"].paper) == "Liu et al. 2021"


def first_variants_quick() -> list[Any]:
    """All variants; only the first of each class is counted in a quick run."""
    quick = {next(iter(info.variants)) for info in model_infos() if info.variants}
    return [pytest.param(v, marks=[] if v in quick else pytest.mark.slow) for v in variants()]


@pytest.mark.parametrize("variant", first_variants_quick())
def test_multiply_adds_are_counted_as_written_and_rows_add_up(variant: str) -> None:
    with torch.device("meta"):
        model = new_model(variant)
    *rows, total = shapes(model)
    assert total.parameters == sum(row.parameters for row in rows)
    assert total.multiply_adds == sum(row.multiply_adds for row in rows)
    assert multiply_adds()[variant] == total.multiply_adds, "run `make docs`"


def test_multiply_adds_of_a_variant() -> None:
    assert count_multiply_adds("deit_tiny_distilled_patch16_224") / 1e9 == pytest.approx(1.26, 0.01)


def test_multiply_adds_are_about_as_published() -> None:
    """Of papers: DeiT-S 4.6 G, Swin-T 4.5 G, ViT-B/16 17.6 G."""
    for name, published in (
        ("deit_small_patch16_224", 4.6),
        ("swin_tiny_patch4_window7_224", 4.5),
        ("vit_base_patch16_224", 17.6),
    ):
        assert multiply_adds()[name] / 1e9 == pytest.approx(published, abs=0.06)


def test_the_pages_are_up_to_date() -> None:
    page = (DOCS / "en" / "models.md").read_text("utf-8")
    assert page == build().models_page(multiply_adds()), "run `make docs`"
    page = (DOCS / "en" / "zoo.md").read_text("utf-8")
    assert page == build().zoo_page(), "run `make docs`"
    page = (DOCS / "en" / "it_helps.md").read_text("utf-8")
    assert page == build().helps_page(), "run `make docs`"
    page = evidence.page(evidence.read_rows(), evidence.RESULTS)
    assert page == evidence.PAGE.read_text("utf-8"), "run `make docs`"
    page = (DOCS / "en" / "config.md").read_text("utf-8")
    assert page == build().config_page(), "run `make docs`"


def test_the_command_line_lists_it() -> None:
    output = CliRunner().invoke(build_app(), ["models", "swin_tiny*"]).output
    assert "Swin  2021, https://arxiv.org/abs/2103.14030, pyramid, weights: timm" in output
    assert "28.3 M" in output
    assert "4.49 G" in output
