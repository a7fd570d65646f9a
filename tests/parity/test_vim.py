"""Vision Mamba against what the official code gave for the same weights.

tests/golden/vim was made by the unmodified official code (hustvl/Vim dd0358a) on a CPU, its CUDA
extension replaced by the same arithmetic in PyTorch. Parameters were disturbed, so that none is
left at a value that hides a mistake.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import vitrail
from vitrail.errors import LoadError
from vitrail.hub.convert import convert
from vitrail.hub.converters.vision_mamba import from_official, official_state_dict
from vitrail.layers.mamba import Mamba
from vitrail.layers.position import rotate
from vitrail.models.vim import VisionMamba
from vitrail.models.vim_official import OfficialVisionMamba

GOLDEN = Path(__file__).parents[1] / "golden" / "vim"
NAMES = sorted(p.stem for p in GOLDEN.glob("*.safetensors"))


class Golden:
    def __init__(self, name: str) -> None:
        description = json.loads((GOLDEN / f"{name}.json").read_text())
        self.keywords: dict[str, Any] = description["kwargs"]
        self.tensors = load_file(GOLDEN / f"{name}.safetensors")
        self.unused = description["params_without_grad"]

    def group(self, prefix: str) -> dict[str, Tensor]:
        return {
            n.removeprefix(f"{prefix}."): t
            for n, t in self.tensors.items()
            if n.startswith(f"{prefix}.")
        }


@pytest.fixture(params=NAMES)
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(request.param)


def build(golden: Golden, backend: str, dtype: torch.dtype = torch.float32) -> VisionMamba:
    model = from_official(golden.group("state"), **golden.keywords).to(dtype)
    for module in model.modules():
        if isinstance(module, Mamba):
            module.backend = backend
    return model


def test_there_are_goldens() -> None:
    assert len(NAMES) >= 6


@pytest.mark.parametrize("backend", ["reference", "torch", "numba"])
def test_logits_features_and_every_layer(golden: Golden, backend: str) -> None:
    model = build(golden, backend)
    streams: list[Tensor] = []
    for block in model.blocks:
        block.register_forward_pre_hook(lambda _, inputs: streams.append(inputs[0]))
    with torch.no_grad():
        images = golden.tensors["input"]
        features = model.pool(model.features(images))
        torch.testing.assert_close(features, golden.tensors["features"], rtol=0, atol=1e-5)
        torch.testing.assert_close(model(images), golden.tensors["logits"], rtol=0, atol=1e-5)
    # What enters a layer's norm is what the official layer hands on as its residual.
    pairs = golden.keywords.get("if_bidirectional", False)
    for i, stream in enumerate(streams[: len(model.blocks)]):
        residual = golden.tensors[f"layer{2 * i if pairs else i}.residual"]
        torch.testing.assert_close(stream, residual, rtol=0, atol=1e-5)


def test_float64(golden: Golden) -> None:
    model = build(golden, "auto", torch.float64)
    with torch.no_grad():
        logits = model(golden.tensors["input"].double())
    # The official tables of rotations are float32, in its float64 too.
    atol = 1e-7 if golden.keywords.get("if_rope") else 1e-9
    torch.testing.assert_close(logits, golden.tensors["logits64"], rtol=0, atol=atol)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_gradients(golden: Golden, backend: str) -> None:
    model = build(golden, backend)
    images = golden.tensors["input"].clone().requires_grad_()
    (model(images) * golden.tensors["grad_out"]).sum().backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.grad)
    gradients = {**official_state_dict(model), "input": images.grad}
    expected = golden.group("grad")
    assert gradients.keys() == expected.keys() - set(golden.unused)
    for name, gradient in gradients.items():
        error = (gradient - expected[name]).abs().max()
        assert error <= 1e-4 * min(1.0, max(expected[name].abs().max(), 1e-3)), name


OURS = ["vim_tiny", "vim_tiny_stride8", "vim_small", "vim_small_stride8", "vim_base"]


@pytest.mark.parametrize("variant", OURS)
def test_the_parameter_list_is_the_official_one(variant: str) -> None:
    from vitrail.models.registry import new_model

    published = json.loads((GOLDEN / "full_models.json").read_text())
    kind = variant.removeprefix("vim_").replace("_stride8", "_patch16_stride8_224")
    kind = kind if "stride8" in kind else f"{kind}_patch16_224"
    official = next(v for k, v in published.items() if k.startswith(f"vim_{kind}"))
    with torch.device("meta"):
        model = new_model(variant)
    shapes = {n: list(t.shape) for n, t in official_state_dict(model).items()}
    assert shapes == official["shapes"]
    assert sum(p.numel() for p in model.parameters()) == official["params"]


def published(tmp_path: Path, suffix: str, **keywords: Any) -> tuple[VisionMamba, Path]:
    """A checkpoint as the authors publish them, of a small model that their layout tells apart."""
    model = VisionMamba(224, 16, 10, 32, 2, **keywords).eval()
    state = official_state_dict(model)
    file = tmp_path / f"vim{suffix}"
    if suffix == ".safetensors":
        save_file({n: t.contiguous() for n, t in state.items()}, file)
    else:
        torch.save({"model": state, "epoch": 3, "args": argparse.Namespace(lr=0.1)}, file)
    return model, file


def test_what_only_the_official_code_does_is_kept(golden: Golden, tmp_path: Path) -> None:
    model = build(golden, "auto")
    flags = golden.keywords
    quirks = flags.get("if_bidirectional") or flags.get("bimamba_type") == "v1"
    assert type(model) is (OfficialVisionMamba if quirks else VisionMamba)
    vitrail.save(model, tmp_path / "model")
    loaded = vitrail.load(tmp_path / "model")
    assert type(loaded) is type(model)
    assert loaded.config == model.config
    with torch.no_grad():
        logits = loaded(golden.tensors["input"])
    torch.testing.assert_close(logits, golden.tensors["logits"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_published_checkpoints_load_and_convert(tmp_path: Path, suffix: str) -> None:
    model, file = published(tmp_path, suffix, stride=8)
    images = torch.randn(2, 3, 224, 224)
    loaded = vitrail.load(file)
    assert loaded.config == model.config
    assert torch.equal(loaded(images), model(images))
    assert "official Vision Mamba" in loaded.origin
    assert loaded.preprocess.size == (224, 224)
    convert(file, tmp_path / "converted")
    assert torch.equal(vitrail.load(tmp_path / "converted")(images), model(images))


def test_the_first_release_is_told_by_its_rotations(tmp_path: Path) -> None:
    keywords = {"pool": "cls_head", "rope": "residual", "fusion": "sum"}
    model, _ = published(tmp_path, ".pth", **keywords)
    state = {**official_state_dict(model), "rope.freqs_cos": torch.zeros(196, 32)}
    torch.save({"model": state}, tmp_path / "first.pth")
    assert vitrail.load(tmp_path / "first.pth").config == model.config


def test_what_is_no_vision_mamba_is_refused(tmp_path: Path) -> None:
    torch.save({"model": {"weight": torch.zeros(1)}}, tmp_path / "other.pth")
    with pytest.raises(LoadError, match="not a published Vision Mamba's: name the architecture"):
        vitrail.load(tmp_path / "other.pth")
    _, file = published(tmp_path, ".pth")
    state = torch.load(file, weights_only=False)["model"]
    with pytest.raises(LoadError, match="is not among the model's"):
        from_official(state, num_classes=10, embed_dim=32, depth=1)
    with pytest.raises(LoadError, match=r"head\.weight has shape \(10, 32\), where \(7, 32\)"):
        from_official(state, num_classes=7, embed_dim=32, depth=2)


@torch.no_grad()
def test_the_official_loop_typed_on_our_layers(golden: Golden) -> None:
    model = build(golden, "auto")
    features = model.embed(golden.tensors["input"])
    hidden_states, (_, rotation, _), to_features = model.to_sequence(features)
    residual, layers = None, model.layers
    if golden.keywords.get("if_bidirectional"):
        for i in range(len(layers) // 2):
            hidden_states_f, residual_f = layers[i * 2](hidden_states, residual)
            hidden_states_b, residual_b = layers[i * 2 + 1](
                hidden_states.flip([1]), None if residual is None else residual.flip([1])
            )
            hidden_states = hidden_states_f + hidden_states_b.flip([1])
            residual = residual_f + residual_b.flip([1])
    else:
        for i, layer in enumerate(layers):
            if rotation is not None and residual is not None:  # `to_sequence` did it for the first
                hidden_states, residual = (
                    rotate(hidden_states, rotation),
                    rotate(residual, rotation),
                )
            hidden_states, residual = layer(hidden_states, residual)
            expected = golden.tensors[f"layer{i}.hidden"], golden.tensors[f"layer{i}.residual"]
            torch.testing.assert_close((hidden_states, residual), expected, rtol=0, atol=1e-5)
    logits = model.head(model.pool(to_features(model.norm(hidden_states + residual))))
    torch.testing.assert_close(logits, golden.tensors["logits"], rtol=0, atol=1e-5)
