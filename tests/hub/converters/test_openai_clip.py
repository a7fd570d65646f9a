"""OpenAI's CLIP files: archives of TorchScript, which are read without running them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

open_clip = pytest.importorskip("open_clip")

import vitrail
from vitrail.errors import LoadError
from vitrail.hub.method_folder import load_method
from vitrail.methods.clip import CLIP
from vitrail.models.clip_vit import CLIPViT
from vitrail.preprocess import Preprocess

VISION = {"image_size": 32, "patch_size": 8, "width": 128, "layers": 2}
TEXT = {"context_length": 12, "vocab_size": 300, "width": 64, "heads": 1, "layers": 2}


class Archive(nn.Module):
    """Holds weights under OpenAI's names, and the numbers that stand beside them in archives."""

    def __init__(self, weights: dict[str, torch.Tensor]) -> None:
        super().__init__()
        for name, tensor in weights.items():
            *path, last = name.split(".")
            module: nn.Module = self
            for part in path:
                if part not in module._modules:
                    module.add_module(part, nn.Module())
                module = module._modules[part]
            module.register_parameter(last, nn.Parameter(tensor, requires_grad=False))
        self.register_buffer("input_resolution", torch.tensor(VISION["image_size"]))
        self.register_buffer("context_length", torch.tensor(TEXT["context_length"]))
        self.register_buffer("vocab_size", torch.tensor(TEXT["vocab_size"]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.fixture(scope="module")
def original() -> Any:
    torch.manual_seed(0)
    model = open_clip.CLIP(48, VISION, TEXT, quick_gelu=True).eval()
    for parameter in model.parameters():  # or layers' effects are too small to tell
        nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture
def archive(original: Any, tmp_path: Path) -> Path:
    file = tmp_path / "ViT-B-8.pt"
    weights = {name: tensor.detach().clone() for name, tensor in original.state_dict().items()}
    torch.jit.save(torch.jit.script(Archive(weights)), file)
    return file


@pytest.mark.filterwarnings("ignore")
def test_both_towers_give_the_original_features(
    original: Any, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.jit, "load", None)
    method = load_method(archive)
    assert isinstance(method, CLIP)
    images, ids = torch.randn(3, 3, 32, 32), torch.randint(0, 299, (4, 12))
    ids[:, 7] = 299  # the end
    with torch.no_grad():
        expected = original.encode_image(images), original.encode_text(ids)
        features = method.image_proj(method.backbone.pool(method.backbone.features(images)))
        assert (features - expected[0]).abs().max() <= 1e-6 * expected[0].abs().max()
        assert (method.text(ids) - expected[1]).abs().max() <= 1e-6 * expected[1].abs().max()
        logits = original.get_logits(images, ids)[0]
        torch.testing.assert_close(method.logits(images, ids), logits, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_the_image_tower_is_a_model_that_is_saved_again(archive: Path, tmp_path: Path) -> None:
    model = vitrail.load(archive)
    assert isinstance(model, CLIPViT)
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    assert model.preprocess == Preprocess((32, 32), 32, "bicubic", mean, std)
    assert model.origin == "OpenAI's CLIP weights of ViT-B-8.pt"
    again = vitrail.load(vitrail.save(model, tmp_path / "model"))
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


@pytest.mark.filterwarnings("ignore")
def test_half_precision_becomes_float32(original: Any, tmp_path: Path) -> None:
    weights = {name: tensor.detach().half() for name, tensor in original.state_dict().items()}
    torch.jit.save(torch.jit.script(Archive(weights)), tmp_path / "clip.pt")
    model = vitrail.load(tmp_path / "clip.pt")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    weight = original.visual.conv1.weight
    assert torch.equal(model.patch_embed.weight, weight.half().float())


@pytest.mark.parametrize("quick", [True, False])
@torch.no_grad()
def test_files_of_open_clip_are_read_with_its_config(quick: bool, tmp_path: Path) -> None:
    """Its models have OpenAI's names, and most of them the exact GELU."""
    vision = {**VISION, "head_width": 32}
    config = {"embed_dim": 48, "vision_cfg": vision, "text_cfg": {**TEXT, "heads": 2}}
    theirs = open_clip.CLIP(**config, quick_gelu=quick).eval()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.1)
    state = {name: tensor.clone() for name, tensor in theirs.state_dict().items()}
    save_file(state, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(LoadError, match="open_clip_model.safetensors: give that file"):
        vitrail.load(tmp_path)
    for read in (vitrail.load, load_method):
        with pytest.raises(LoadError, match="which GELU .* open_clip_config.json beside it"):
            read(tmp_path / "open_clip_model.safetensors")
    settings = {"model_cfg": {**config, "quick_gelu": quick}, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(settings))
    method = load_method(tmp_path / "open_clip_model.safetensors")
    images, ids = torch.randn(3, 3, 32, 32), torch.randint(0, 299, (4, 12))
    ids[:, 7] = 299
    features = method.image_proj(method.backbone.pool(method.backbone.features(images)))
    torch.testing.assert_close(features, theirs.encode_image(images), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(method.text(ids), theirs.encode_text(ids), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("what", ["resnet", "missing", "misshapen", "unknown", "no method"])
def test_files_that_do_not_fit_are_one_line(original: Any, tmp_path: Path, what: str) -> None:
    weights = dict(original.state_dict())
    if what == "resnet":
        weights = {n: t for n, t in weights.items() if "visual" not in n}
        weights |= {"visual.conv1.weight": torch.zeros(4, 3, 3, 3)}
    elif what == "missing":
        weights.pop("visual.ln_pre.weight")
    elif what == "misshapen":
        weights["visual.positional_embedding"] = torch.zeros(3)
    elif what == "unknown":
        weights["visual.transformer.resblocks.0.extra"] = torch.zeros(3)
    else:
        weights = {"x": torch.zeros(3)}
    torch.save(weights, tmp_path / "clip.pt")
    for read in (vitrail.load, load_method):
        with pytest.raises(LoadError) as caught:
            read(tmp_path / "clip.pt")
        assert "\n" not in str(caught.value)
        assert "clip.pt" in str(caught.value)
