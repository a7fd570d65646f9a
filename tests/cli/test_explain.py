"""`vitrail explain compare`: a page and figures, which the report of a run shows too."""

import json
import re
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Command, picture
from tests.models.small import small
from vitrail.hub.model_folder import save
from vitrail.lens.report_page import write_report
from vitrail.run_folder import RunFolder


@pytest.fixture
def explain(vitrail: Command, tmp_path: Path) -> Command:
    """Runs `vitrail explain` on three pictures with a model of five classes."""
    for i, name in enumerate("abc"):
        picture().resize((60 + i, 45)).save(tmp_path / f"{name}.png")
    model = small("ViT")
    model.labels = ["cat", "dog", "cup", "moon", "car"]
    save(model, tmp_path / "model")

    def run(*arguments: str) -> tuple[int, str, str]:
        return vitrail("explain", *arguments)

    return run


CHOICES = ("--explanations", "rollout,relevance", "--images", "*.png", "--target", "cup")


def test_a_page_and_figures(explain: Command, tmp_path: Path) -> None:
    code, out, _ = explain("compare", "model", *CHOICES)
    assert code == 0 and out.endswith("written: explain.html\n")
    page = (tmp_path / "explain.html").read_text()
    assert all(name in page for name in ("rollout", "relevance", "random", "3 images of *.png"))
    assert page.count("<img") >= 9
    assert len(re.findall(r"cup \(\d+ %\)", page)) >= 3, "the class that is explained"
    code, _, _ = explain("compare", "model", *CHOICES, "--out", "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())
    rows = {row["explanation"]: row for row in figures["explanations"]}
    assert code == 0 and figures["images"] == 3 and list(rows) == ["rollout", "relevance", "random"]
    assert 0 < rows["relevance"]["deletion"] < 1 and rows["random"]["correlation"] is None


def test_the_report_of_a_run_shows_them(explain: Command, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.write_settings({"data": {"source": "digits"}})
    save(small("ViT"), run.model_folder)
    code, _, errors = explain("compare", "run", "--explanations", "rollout", "--images", "*.png")
    assert code == 0 and run.explanations is not None, errors
    page = write_report(run).read_text()
    assert "How far explanations can be believed" in page and "rollout" in page


def test_an_image_that_was_kept_twice_counts_once(explain: Command, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.write_settings({"data": {"source": "digits"}})
    save(small("ViT"), run.model_folder)
    images = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    run.write_evaluation({"split": "digits test"}, images[[1, 0, 1]])  # a mistake, two examples
    code, _, errors = explain("compare", "run", "--explanations", "rollout")
    assert code == 0 and "2 images of digits test" in (tmp_path / "explain.html").read_text(), (
        errors
    )


def test_count_seed_and_target_change_the_figures(explain: Command, tmp_path: Path) -> None:
    rows, counts = [], []
    for options in (
        ("--target", "cat"),
        ("--target", "cat", "--seed", "1"),
        ("--target", "car"),
        ("--count", "2"),
    ):
        command = ("compare", "model", *CHOICES, *options, "--out", "a.json", "--force")
        assert explain(*command)[0] == 0
        figures = json.loads((tmp_path / "a.json").read_text())
        rows.append({row["explanation"]: row for row in figures["explanations"]})
        counts.append(figures["images"])
    assert counts == [3, 3, 3, 2]
    cat, seed, car, _fewer = rows
    assert cat["rollout"]["deletion"] != car["rollout"]["deletion"]
    assert cat["random"]["deletion"] != seed["random"]["deletion"]


def test_a_page_is_written_over_by_force_only(explain: Command, tmp_path: Path) -> None:
    page = tmp_path / "explain.html"
    page.write_text("a page of the user's")
    code, _, errors = explain("compare", "model", *CHOICES)
    assert code == 2 and page.read_text() == "a page of the user's"
    assert errors.startswith("error: explain.html exists: choose another name, or overwrite it")
    assert explain("compare", "model", *CHOICES, "--force")[0] == 0
    assert "rollout" in page.read_text()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("compare", "model"), "this model has kept no test images: name some by --images."),
        (("compare", "model", "--images", "*.png", "--target", "owl"), "no class of that name"),
        (("compare", "model", *CHOICES, "--out", "a.txt"), "--out a.txt is neither .html nor"),
        (
            ("compare", "model", "--images", "*.png", "--explanations", "rolout"),
            "no explanation 'rolout'. Did you mean 'rollout'",
        ),
        (("draw", "model"), "draw"),
    ],
)
def test_what_is_wrong_is_one_line(
    arguments: tuple[str, ...], message: str, explain: Command, tmp_path: Path
) -> None:
    before = sorted(tmp_path.iterdir())
    code, _, errors = explain(*arguments)
    assert code == 2 and message in errors
    assert sorted(tmp_path.iterdir()) == before
