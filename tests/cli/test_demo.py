"""`vitrail demo`, without its real model and its minutes of training."""

from pathlib import Path

import pytest

from tests.cli.conftest import Command
from vitrail.cli import demo


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Path, int]]:
    """Replaces what takes minutes; collects the trainings."""
    trainings: list[tuple[Path, int]] = []

    def train(folder: Path, _model: object, epochs: int) -> tuple[str, Path]:
        trainings.append((folder, epochs))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run.yaml").touch()
        return "<p>summary</p>", folder / "report.html"

    monkeypatch.setattr(demo, "_pretrained", lambda: ["<p>attention</p>"])
    monkeypatch.setattr(demo, "_train", train)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    return trainings


def test_one_page_leads_to_all(
    vitrail: Command, tmp_path: Path, quick: list[tuple[Path, int]]
) -> None:
    for _ in range(2):  # a second call replaces the runs of the first
        code, out, errors = vitrail("demo", "--out", "demo", "--epochs", "1")
        assert code == 0, errors
    assert quick == [(Path("demo/vit"), 1), (Path("demo/vim"), 1)] * 2
    page = (tmp_path / "demo" / "index.html").read_text()
    for text in ("attention", 'href="vit/report.html"', 'href="vim/report.html"', "A small ViT,"):
        assert text in page
    assert "all models:       demo/index.html" in out


@pytest.mark.usefixtures("quick")
def test_a_folder_of_the_user_is_not_deleted(vitrail: Command, tmp_path: Path) -> None:
    (tmp_path / "demo" / "vit").mkdir(parents=True)
    thesis = tmp_path / "demo" / "vit" / "thesis.txt"
    thesis.write_text("years of work")
    code, _, errors = vitrail("demo", "--out", "demo")
    assert code == 2
    assert "demo/vit holds files that are no run's" in errors
    assert thesis.read_text() == "years of work"


@pytest.mark.usefixtures("quick")
def test_a_file_of_the_user_outlives_a_second_call(vitrail: Command, tmp_path: Path) -> None:
    assert vitrail("demo", "--out", "demo")[0] == 0
    thesis = tmp_path / "demo" / "vit" / "model" / "thesis.txt"
    thesis.parent.mkdir(exist_ok=True)
    thesis.write_text("years of work")
    assert vitrail("demo", "--out", "demo")[0] == 0
    assert thesis.read_text() == "years of work"
