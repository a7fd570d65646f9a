"""`vitrail predict` by words, for what learned from captions."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Command
from tests.train.test_methods import of
from vitrail.data.registry import open_dataset
from vitrail.train import trainer


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of CLIP, one of MAE, and an image."""
    folder = tmp_path_factory.mktemp("words")
    for name in ("clip", "mae"):
        trainer.train(of(name, "optim.ema=0", "schedule.epochs=1"), folder / name)
    Image.fromarray(open_dataset("digits").read(0)[0].numpy()).save(folder / "digit.png")
    return folder


def test_classes_are_named_by_words(place: Path, vitrail: Command) -> None:
    ask = ("predict", str(place / "digit.png"), "--model", str(place / "clip"), "--json")
    _, told, _ = vitrail(*ask, "--top", "10")
    assert set(json.loads(told)["classes"]) == {str(i) for i in range(10)}
    code, told, _ = vitrail(*ask, "--labels", "a cat, a dog")
    parts = json.loads(told)["classes"]
    assert code == 0 and set(parts) == {"a cat", "a dog"}
    assert sum(parts.values()) == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize(
    ("run", "more", "told"),
    [
        ("mae", ["--labels", "cat,dog"], "--labels are for CLIP, and .* is of MAE"),
        ("mae", [], "has no head that names classes: train one on it"),
        ("clip", ["--labels", "cat"], "--labels 'cat' names no two things"),
    ],
)
def test_what_cannot_name_them(
    run: str, more: list[str], told: str, place: Path, vitrail: Command
) -> None:
    code, _, errors = vitrail("predict", str(place / "digit.png"), "-m", str(place / run), *more)
    assert code == 2
    assert re.search(told, errors)
