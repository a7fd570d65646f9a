"""`vitrail info`, `models`, `methods`, `look`, and another image size for any model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.conftest import Command, picture
from tests.models.small import small
from vitrail.cli.main import COMMANDS
from vitrail.hub.model_folder import save
from vitrail.lens.shapes import shapes
from vitrail.methods.registry import list_methods
from vitrail.models.registry import list_variants, new_model
from vitrail.train.inference import open_model


def columns(output: str) -> list[list[str]]:
    """The numbers at the end of each row of the table, of parameters and multiply-adds."""
    rows = [line.split() for line in output.splitlines()]
    return [row for row in rows if row and row[0] in ("embed", "norm", "head", "total")]


def test_the_table_is_that_of_the_shapes(vitrail: Command) -> None:
    code, out, _ = vitrail("info", "vit_tiny_patch16_224")
    assert code == 0
    total = shapes(new_model("vit_tiny_patch16_224"))[-1]
    assert columns(out)[-1] == ["total", f"{total.parameters:,}", f"{total.multiply_adds:,}"]
    assert "5,717,416" in out
    assert out.count("block ") == 12


def test_a_saved_model_shows_origin_and_classes(vitrail: Command, tmp_path: Path) -> None:
    model = small("ViT", num_classes=12)
    model.labels, model.origin = [f"[{i}]" for i in range(12)], "a test"
    save(model, tmp_path / "model")
    code, out, _ = vitrail("info", "model", "--image-size", "64")
    assert code == 0
    assert "weights: a test" in out
    assert "classes: [0], [1], " in out
    assert "[9], and 2 more" in out
    assert "3 x 64 x 64" in out


@pytest.mark.parametrize(
    ("name", "keywords", "size"),
    [("LeViT", {}, 64), ("CrossFormer", {"image_size": 64}, 96), ("CCT", {}, 32), ("ViT", {}, 48)],
)
def test_another_image_size(
    name: str, keywords: dict[str, Any], size: int, vitrail: Command, tmp_path: Path
) -> None:
    """Whatever keywords a model has: patch_size may be a tuple, a kernel, or absent."""
    save(small(name, **keywords), tmp_path / "model")
    picture().save(tmp_path / "a.png")
    code, out, errors = vitrail("predict", "a.png", "-m", "model", "--image-size", str(size))
    assert (code, errors) == (0, "")
    assert out.startswith("a.png: ")
    assert open_model("model", image_size=size).preprocess.size == (size, size)


def test_a_size_that_a_model_cannot_see_is_an_error_of_the_option(
    vitrail: Command, tmp_path: Path
) -> None:
    save(small("ViT"), tmp_path / "model")
    picture().save(tmp_path / "a.png")
    code, out, errors = vitrail("predict", "a.png", "-m", "model", "--image-size", "33")
    assert code == 2 and not out
    assert errors.startswith("error: --image-size=33: ")
    assert "33 x 33" in errors


def test_images_that_are_no_squares(vitrail: Command, tmp_path: Path) -> None:
    save(small("ViT"), tmp_path / "model")
    picture().save(tmp_path / "a.png")
    code, out, _ = vitrail("info", "model", "--image-size", "64x48")
    assert code == 0 and "3 x 64 x 48" in out
    code, out, errors = vitrail("predict", "a.png", "-m", "model", "--image-size", "64X48")
    assert (code, errors) == (0, "") and out.startswith("a.png: ")
    assert open_model("model", image_size=(64, 48)).preprocess.size == (64, 48)
    code, _, errors = vitrail("predict", "a.png", "-m", "model", "--image-size", "64x33")
    assert code == 2 and errors.startswith("error: --image-size=64x33: ")


@pytest.mark.parametrize("size", ["0", "64x", "x", "-8", "a", "64x0", "1e3", "64x48x32", "9999999"])
def test_no_size_of_images(size: str, vitrail: Command, tmp_path: Path) -> None:
    save(small("ViT"), tmp_path / "model")
    code, out, errors = vitrail("info", "model", f"--image-size={size}")
    assert code == 2 and not out
    assert "size" in errors.splitlines()[-1] and "Traceback" not in errors


def test_models_and_methods_are_listed(vitrail: Command) -> None:
    code, out, _ = vitrail("models")
    assert code == 0
    assert all(f"  {name} " in out for name in list_variants())
    code, out, _ = vitrail("methods")
    assert code == 0
    for name in list_methods():
        assert any(line.startswith(f"{name}  ") for line in out.splitlines())
    assert '"Masked Autoencoders Are Scalable Vision Learners" (He et al. 2021, https:' in out
    assert "SequenceBackbone models" in out


def test_every_command_has_help_and_every_option_too(vitrail: Command) -> None:
    code, out, _ = vitrail("--help")
    assert code == 0
    for name in COMMANDS:
        assert any(line.split()[:1] == [name] for line in out.splitlines())
        code, text, _ = vitrail(name, "--help")
        assert code == 0
        assert "Args:" not in text


def test_heads_and_layers_are_drawn_for_one_image(vitrail: Command, tmp_path: Path) -> None:
    model = small("ViT")
    save(model, tmp_path / "model")
    picture().save(tmp_path / "a.png")
    command = ("look", "a.png", "-m", "model", "-o", "page.html", "--layers", "0,2", "--heads", "1")
    code, out, _ = vitrail(*command)
    assert (code, out) == (0, "written: page.html\n")
    page = (tmp_path / "page.html").read_text()
    assert "layer 0, head 1" in page
    assert "layer 2, head 1" in page
    assert "head 0" not in page
    code, _, errors = vitrail("look", "a.png", "-m", "model", "-o", "page.gif")
    assert code == 2
    assert "--out page.gif is neither .html nor one of .png" in errors


def test_an_exported_file_is_named_by_its_model(vitrail: Command, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    model = small("ViT").eval()
    save(model, tmp_path / "model")
    code, out, errors = vitrail("export", "model")
    assert code == 0, errors
    assert out.startswith("written: model.onnx (")
    assert "checked: the file's logits are within" in out
    assert (tmp_path / "model.onnx").stat().st_size > 10_000
    assert not torch.is_inference_mode_enabled()


def test_what_is_in_a_block_as_table_drawing_and_json(vitrail: Command, tmp_path: Path) -> None:
    code, out, _ = vitrail("info", "vit_tiny_patch16_224", "--depth", "2", "--batch", "2")
    assert code == 0
    assert "(2, 3, 192, 64)" not in out
    for sizes in ("(2, 3, 224, 224)", "(2, 196, 192)", "(2, 3, 197, 64)", "(2, 3, 197, 197)"):
        assert sizes in out
    command = ("info", "vit_tiny_patch16_224", "--json", "--depth", "2", "-o", "a.svg")
    code, out, errors = vitrail(*command)
    rows = json.loads(out)
    assert (code, errors) == (0, "written: a.svg\n") and rows[0]["sizes"] == [1, 3, 224, 224]
    assert {"q", "k", "v", "attention", "mlp"} <= {row["name"] for row in rows}
    assert "(1, 3, 197, 64)" in (tmp_path / "a.svg").read_text()
    assert vitrail("info", "vit_tiny_patch16_224", "-o", "a.json")[0] == 0
    assert len(json.loads((tmp_path / "a.json").read_text())) == 2 + 12 + 5
    code, _, errors = vitrail("info", "vit_tiny_patch16_224", "-o", "a.json")
    assert code == 2 and "a.json exists" in errors
    assert vitrail("info", "vit_tiny_patch16_224", "-o", "a.json", "--force")[0] == 0
    code, _, errors = vitrail("info", "vit_tiny_patch16_224", "-o", "a.txt")
    assert code == 2 and errors == "error: --out a.txt is neither .svg nor .json.\n"
