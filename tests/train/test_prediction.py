"""`vitrail.predict` and `vitrail.features` give what the model itself gives."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import vitrail
from tests.cli.conftest import digits_model, picture
from vitrail.data.registry import open_dataset
from vitrail.errors import VitrailError
from vitrail.models.base import Backbone
from vitrail.train.prediction import Predictor


@pytest.fixture
def model() -> Backbone:
    model = digits_model(num_classes=3).eval()
    model.labels = ["a", "b", "c"]
    return model


def test_images_of_every_kind_in_their_order(model: Backbone, tmp_path: Path) -> None:
    digits = open_dataset("digits")
    pixels = [digits.read(number) for number in range(5)]
    for number, image in enumerate(pixels):
        Image.fromarray(image[0].numpy()).save(tmp_path / f"{number}.png")
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    pillow = [Image.open(path) for path in paths]
    expected = model(model.preprocess(pixels)).softmax(1)
    kinds: list[Any] = [
        paths, tmp_path, f"{tmp_path}/*.png", pillow, pixels, torch.stack(pixels),
        [paths[0], pillow[1], pixels[2], str(paths[3]), pixels[4]], iter(pixels),
    ]  # fmt: skip
    for images in kinds:
        predictions = vitrail.predict(model, images, batch_size=2)
        assert len(predictions) == 5
        for prediction, row in zip(predictions, expected, strict=True):
            values = {name: prediction.classes[name] for name in ("a", "b", "c")}
            assert list(values.values()) == pytest.approx(row.tolist(), abs=1e-6)
            assert list(prediction.classes.values()) == sorted(row.tolist(), reverse=True)
            assert prediction.label == "abc"[int(row.argmax())]
    assert [p.image for p in vitrail.predict(model, paths)] == [str(path) for path in paths]
    assert vitrail.predict(model, pixels[:2])[1].image == "image 1"
    assert [len(p.classes) for p in vitrail.predict(model, pixels[0], top=1)] == [1]
    assert len(vitrail.predict(model, [paths[0], paths[0]])) == 2


def test_a_predictor_reads_images_as_they_are_needed(model: Backbone) -> None:
    reads = []

    def images() -> Any:
        for number in range(6):
            reads.append(number)
            yield torch.full((1, 8, 8), number, dtype=torch.uint8)

    predictions = Predictor(model)(images(), batch_size=2)
    next(predictions)
    assert reads == [0, 1]


def test_features_are_those_of_the_model(model: Backbone) -> None:
    digits = open_dataset("digits", "test", limit=20)
    pixels = [digits.read(number) for number in range(20)]
    with torch.no_grad():
        expected = model.pool(model.features(model.preprocess(pixels)))
    by_images = vitrail.features(model, pixels, batch_size=8)
    by_name = vitrail.features(model, "digits", limit=20, batch_size=8)
    by_dataset = vitrail.features(model, digits)
    for result in (by_images, by_name, by_dataset):
        torch.testing.assert_close(result.features, expected, rtol=1e-5, atol=1e-6)
    assert by_images.targets is None and by_images.labels == []
    assert by_name.targets is not None and by_dataset.targets is not None
    assert by_name.targets.tolist() == by_dataset.targets.tolist() == digits.targets()
    assert by_name.names == [digits.name(i) for i in range(20)]
    assert by_name.labels == digits.labels
    by_images.features.requires_grad_()  # an ordinary tensor
    first = vitrail.features(model, pixels, layer=1).features
    assert not torch.allclose(first, expected, atol=1e-3)
    assert model.depth == 3
    train = vitrail.features(model, "digits", split="train", limit=20)
    assert train.names != by_name.names or not torch.equal(train.features, by_name.features)


BAD: dict[str, tuple[Any, dict[str, Any], str]] = {
    "empty": ([], {}, "images is empty: give at least one path"),
    "no file": ("nowhere.jpg", {}, "no images at 'nowhere.jpg': give a file, a folder or"),
    "no image": ([3], {}, "image 0 is of int: give a path, a Pillow image or a uint8 tensor"),
    "floats": (torch.zeros(1, 8, 8), {}, "image tensor of torch.float32"),
    "unreadable": ("text.png", {}, "text.png: not an image .* Leave it out by bad_images='skip'"),
    "all unreadable": ("text.png", {"bad_images": "skip"}, "none of the 1 images can be read"),
    "top": ("a.png", {"top": 0}, "top=0 is not at least 1"),
    "labels": ("a.png", {"labels": ["cat"]}, r"labels=\['cat'\] needs two names at least"),
    "precision": ("a.png", {"precision": "fp8"}, "precision='fp8' is not one of 'auto'"),
    "size": ("a.png", {"image_size": 9}, "image_size=9: .* does not divide into patches"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(
    case: str, model: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.png").write_text("not an image")
    picture().save("a.png")
    images, options, message = BAD[case]
    with pytest.raises(VitrailError, match=message) as caught:
        vitrail.predict(model, images, **options)
    assert "\n" not in str(caught.value)
    if not options:
        with pytest.raises(VitrailError, match=message):
            vitrail.features(model, images)


def test_unreadable_images_are_left_out(
    model: Backbone, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.png").write_text("not an image")
    picture().save(tmp_path / "a.png")
    predictions = vitrail.predict(model, tmp_path, bad_images="skip")
    assert [Path(p.image).name for p in predictions] == ["a.png"]
    assert "skipped" in capsys.readouterr().err


def test_a_model_without_a_head_does_not_predict() -> None:
    with pytest.raises(VitrailError, match="this ViT has no head that classifies"):
        vitrail.predict(digits_model(), torch.zeros(1, 8, 8, dtype=torch.uint8))
