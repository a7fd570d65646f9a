"""A program of torch.export needs no Vitrail, and takes the sizes that it says."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import vitrail
from tests.models.small import images_for, small
from vitrail.cli.main import main
from vitrail.deploy import ImageEncoder, TextEncoder, export_program
from vitrail.errors import ConfigError, DataError
from vitrail.methods.clip import CLIP

LOAD = """
import sys, torch
program = torch.export.load("model.pt2", extra_files=(files := {"labels.json": ""}))
for images, logits in torch.load("cases.pt"):
    torch.testing.assert_close(program.module()(images), logits, rtol=0, atol=1e-5)
assert "vitrail" not in sys.modules
assert files["labels.json"] == '["a", "b", "c"]', files
assert not [n for n in program.graph.nodes if "vitrail" in str(n.target) or "sort" in n.name]
"""


def in_a_process_without_vitrail(
    folder: Path, cases: list[tuple[torch.Tensor, torch.Tensor]]
) -> None:
    torch.save([(images, logits.detach()) for images, logits in cases], folder / "cases.pt")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", LOAD], cwd=folder, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    ("stride", "sides"),
    [
        (None, ("8*rows", "8*columns")),
        pytest.param(4, ("height", "width"), marks=pytest.mark.slow),
    ],
)
def test_a_vision_mamba_of_any_size_runs_without_vitrail(
    stride: int | None, sides: tuple[str, str], tmp_path: Path
) -> None:
    model = vitrail.VisionMamba(32, 8, num_classes=3, dim=16, depth=1, stride=stride).eval()
    model.labels = ["a", "b", "c"]
    exported = export_program(model, tmp_path / "model.pt2", dynamic_size=True)
    assert exported.inputs == ("batch", 3, *sides)
    assert exported.difference is not None and exported.difference <= 1e-6
    sizes = ((1, 32, 32), (3, 16, 64), (2, 48, 24))  # the model's own first
    images = [torch.randn(b, 3, h, w) for b, h, w in sizes]
    in_a_process_without_vitrail(tmp_path, [(x, model(x)) for x in images])


def test_a_program_of_one_size(tmp_path: Path) -> None:
    model = vitrail.ViT(32, 8, num_classes=3, dim=16, depth=1, heads=2, mlp_dim=16).eval()
    path = tmp_path / "model.pt2"
    try:
        torch.set_default_dtype(torch.float64)
        with torch.autocast("cpu"), torch.device("meta"):  # which are the caller's own
            exported = export_program(torch.compile(model), path, image_size=(48, 24))
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert exported.inputs == ("batch", 3, 48, 24)
    images = torch.randn(5, 3, 48, 24)
    run = torch.export.load(path).module()
    torch.testing.assert_close(run(images), model(images), rtol=0, atol=1e-5)
    with pytest.raises(DataError, match="resize it to 32 x 32"):
        export_program(model, path, image_size=30, overwrite=True)
    with pytest.raises(ConfigError, match=r"model.onnx does not end in .pt2"):
        export_program(model, tmp_path / "model.onnx")


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_command_writes_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    model = vitrail.VisionMamba(16, 8, num_classes=3, dim=16, depth=1).eval()
    model.labels = ["a", "b", "c"]
    vitrail.save(model, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["vitrail", "export", "run", "model.pt2"])
    with pytest.raises(SystemExit, match="^0$"):
        main()
    output = capsys.readouterr().out
    assert "input: images, float32, batch x 3 x 16 x 16" in output
    assert "checked: the file's logits are within" in output
    images = torch.randn(3, 3, 16, 16)
    logits = torch.export.load(tmp_path / "model.pt2").module()(images)
    torch.testing.assert_close(logits, model(images), rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # tracing is deprecated, and warns of every size
@pytest.mark.parametrize(
    "name",
    ["ViT", *(pytest.param(n, marks=pytest.mark.slow) for n in ("CrossViT", "EfficientViT"))],
)
def test_torchscript_traces_all_but_mamba(name: str) -> None:
    model = small(name).eval()
    images = images_for(model)
    for context in (torch.enable_grad(), torch.no_grad()):
        with context:
            traced = torch.jit.trace(model, images)
            torch.testing.assert_close(traced(images), model(images), rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match=r"cannot be traced by torch.jit: use torch.export"):
        torch.jit.trace(vitrail.VisionMamba(16, 8, 3, dim=16, depth=1), torch.zeros(1, 3, 16, 16))


class Tokenizer:
    """Words by their length, and an end."""

    vocabulary, context, end = 16, 6, 15

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """texts → ids (B, 6)."""
        return torch.tensor([[len(text) % 10, 2, 15, 0, 0, 0] for text in texts])


@pytest.fixture(scope="module", params=["end", pytest.param("last", marks=pytest.mark.slow)])
def clip(request: pytest.FixtureRequest) -> CLIP:
    torch.manual_seed(0)
    backbone = vitrail.ViT(16, 8, num_classes=0, dim=8, depth=1, heads=2, mlp_dim=8)
    sizes = {"embed_dim": 4, "text_dim": 8, "text_depth": 1, "text_heads": 2}
    return CLIP(backbone, Tokenizer(), text_pool=request.param, **sizes).eval()


def test_the_towers_of_clip(clip: CLIP, tmp_path: Path) -> None:
    words, images = ["a", "four", "sixsix"], torch.randn(5, 3, 16, 16)
    classifier = clip.zero_shot(["cat", "parrot"])
    for model, inputs, expected, labels in (
        (TextEncoder(clip), clip.tokenizer(words), clip.encode_text(words), ""),
        (ImageEncoder(clip), images, clip.encode_image(images), "null"),
        (classifier, images, classifier(images), '["cat", "parrot"]'),
    ):
        export_program(model, tmp_path / "model.pt2", overwrite=True)
        files = {"labels.json": ""}
        outputs = torch.export.load(tmp_path / "model.pt2", extra_files=files).module()(inputs)
        assert files["labels.json"] == labels
        torch.testing.assert_close(outputs, expected.detach(), rtol=0, atol=1e-5)
    with pytest.raises(ConfigError, match="CLIP has two towers: give deploy.ImageEncoder"):
        export_program(clip, tmp_path / "other.pt2")
    for tower in (TextEncoder(clip), ImageEncoder(clip)):
        with pytest.raises(ConfigError, match="a batch of 1000000000000.* needs more memory"):
            export_program(tower, tmp_path / "other.pt2", batch_size=10**12)
