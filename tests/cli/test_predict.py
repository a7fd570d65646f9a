"""`vitrail predict`: by a head, and by words for a model that learned from captions."""

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.cli.conftest import Command, digits_model, settings
from vitrail.data.registry import open_dataset
from vitrail.hub.model_folder import save
from vitrail.train.factory import train_run

CLIP = {
    "name": "clip", "tokenizer": "train:80", "embed_dim": 16, "text_dim": 16, "text_depth": 1,
    "text_heads": 2,
}  # fmt: skip
MAE = {"name": "mae", "decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of CLIP, one of MAE, and an image."""
    path = tmp_path_factory.mktemp("words")
    for method in (CLIP, MAE):
        values = settings(method=method, optim={"ema": 0.0})
        train_run(values, path / str(method["name"]))
    Image.fromarray(open_dataset("digits").read(0)[0].numpy()).save(path / "digit.png")
    return path


def test_classes_are_named_by_words(folder: Path, vitrail: Command) -> None:
    command = ("predict", str(folder / "digit.png"), "--model", str(folder / "clip"), "--json")
    _, out, _ = vitrail(*command, "--top", "10")
    assert set(json.loads(out)["classes"]) == {str(i) for i in range(10)}
    code, out, _ = vitrail(*command, "--labels", "a cat, a dog")
    probabilities = json.loads(out)["classes"]
    assert code == 0 and set(probabilities) == {"a cat", "a dog"}
    assert sum(probabilities.values()) == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize(
    ("run", "options", "error"),
    [
        (
            "mae",
            ["--labels", "cat,dog"],
            r"--labels=\['cat', 'dog'\] are for CLIP, and .* is of MAE",
        ),
        ("mae", [], "has no head that classifies: train one on it"),
        ("clip", ["--labels", "cat"], "--labels 'cat' needs two names at least"),
    ],
)
def test_what_cannot_classify(
    run: str, options: list[str], error: str, folder: Path, vitrail: Command
) -> None:
    command = ("predict", str(folder / "digit.png"), "-m", str(folder / run), *options)
    code, _, errors = vitrail(*command)
    assert code == 2
    assert re.search(error, errors)


def test_more_images_than_a_batch(vitrail: Command, tmp_path: Path) -> None:
    """Each image gets its own line, with the model's own probabilities, in order."""
    model = digits_model(num_classes=3).eval()
    model.labels = ["a", "b", "c"]
    save(model, tmp_path / "model")
    digits = open_dataset("digits")
    for number in range(5):
        Image.fromarray(digits.read(number)[0].numpy()).save(tmp_path / f"{number}.png")
    images = [f"{n}.png" for n in range(5)]
    code, out, _ = vitrail("predict", *images, "-m", "model", "--json", "--batch-size", "2")
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["image"] for line in lines] == images
    for number, line in enumerate(lines):
        with torch.no_grad():
            expected = model(model.preprocess(digits.read(number))).softmax(1)[0]
        for label, value in zip(model.labels, expected.tolist(), strict=True):
            assert line["classes"][label] == pytest.approx(value, abs=1e-3)
