"""A model that was saved and loaded is the same model: configurations, dtypes, wrappers."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import nn

import vitrail
from tests.models.small import CASES, IDS, images_for, small
from tests.properties.strategies import drawn, drawn_more, images_of, model_of, seeds

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
WRAPPERS = {
    "none": lambda model: model,
    "compiled": lambda model: torch.compile(model, backend="eager"),
    "parallel": nn.DataParallel,
    "both": lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
}
wrappers = st.sampled_from(sorted(WRAPPERS))
dtypes = st.sampled_from(sorted(DTYPES))


def check(model: vitrail.Backbone, dtype: str, wrapper: str, seed: int) -> None:
    """Saves and loads a model: its weights and config are the same, and so are its logits."""
    model = model.to(DTYPES[dtype])
    with tempfile.TemporaryDirectory() as folder:
        vitrail.save(WRAPPERS[wrapper](model), Path(folder) / "m")
        loaded = vitrail.load(Path(folder) / "m")
    assert loaded.config == model.config
    assert not loaded.training
    weights = loaded.state_dict()
    for name, value in model.state_dict().items():
        # Halves are computed with in float32, and loading says so in its documentation.
        assert torch.equal(weights[name], value.to(weights[name].dtype)), name
        assert value.dtype == weights[name].dtype or weights[name].dtype == torch.float32
    images = images_of(model, 2, seed)
    with torch.no_grad():
        expected = model.to(next(loaded.parameters()).dtype)(images.to(weights_dtype(loaded)))
        assert torch.equal(loaded(images.to(weights_dtype(loaded))), expected)


def weights_dtype(model: nn.Module) -> torch.dtype:
    return next(model.parameters()).dtype


@drawn(10, index=st.integers(0, len(CASES) - 1), dtype=dtypes, wrapper=wrappers, seed=seeds)
def test_every_family(index: int, dtype: str, wrapper: str, seed: int) -> None:
    name, more = CASES[index]
    torch.manual_seed(seed)
    check(small(name, **more), dtype, wrapper, seed)


@pytest.mark.parametrize("index", range(len(CASES)), ids=IDS)
@drawn_more(1, dtype=dtypes, wrapper=wrappers, seed=seeds)
def test_every_case(index: int, dtype: str, wrapper: str, seed: int) -> None:
    name, more = CASES[index]
    torch.manual_seed(seed)
    check(small(name, **more), dtype, wrapper, seed)


@st.composite
def vits(draw: st.DrawFn) -> dict[str, Any]:
    """Keywords of a ViT, within their limits."""
    heads, patch = draw(st.integers(1, 3)), (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    grid = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    return {
        "image_size": tuple(p * g for p, g in zip(patch, grid, strict=True)),
        "patch_size": patch,
        "num_classes": draw(st.integers(0, 6)),
        "dim": 8 * heads * draw(st.integers(1, 3)),
        "depth": draw(st.integers(1, 3)),
        "heads": heads,
        "mlp_dim": draw(st.integers(1, 20)),
        "channels": draw(st.integers(1, 5)),
        "pool": draw(st.sampled_from(["cls", "mean", "cls_mean"])),
        "position": draw(st.sampled_from(["learned", "rope", "sincos"])),
        "registers": draw(st.integers(0, 2)),
        "qk_norm": draw(st.booleans()),
        "layer_scale": draw(st.sampled_from([None, 1e-5, 0.5])),
        "drop_path": draw(st.floats(0, 0.9)),
        "dropout": draw(st.floats(0, 0.9)),
        "emb_dropout": draw(st.floats(0, 0.9)),
    }


@st.composite
def vims(draw: st.DrawFn) -> dict[str, Any]:
    """Keywords of a Vision Mamba, within their limits."""
    return {
        "image_size": 4 * draw(st.integers(1, 4)),
        "patch_size": 4,
        "num_classes": draw(st.integers(0, 6)),
        "dim": draw(st.integers(1, 20)),
        "depth": draw(st.integers(1, 3)),
        "scan": draw(st.sampled_from(["v1", "v2"])),
        "fusion": draw(st.sampled_from(["mean", "sum", "gate", "concat"])),
        "pool": draw(st.sampled_from(["cls_middle", "cls_head", "cls_both", "mean", "max"])),
        "d_state": draw(st.integers(1, 9)),
        "d_conv": draw(st.integers(1, 5)),
        "expand": draw(st.integers(1, 3)),
        "dt_rank": draw(st.sampled_from([None, 1, 3])),
        "bias": draw(st.booleans()),
        "channels": draw(st.integers(1, 4)),
    }


@drawn(15, keywords=vits(), dtype=dtypes, seed=seeds)
def test_vits_of_drawn_keywords(keywords: dict[str, Any], dtype: str, seed: int) -> None:
    torch.manual_seed(seed)
    check(vitrail.ViT(**keywords).eval(), dtype, "none", seed)


@drawn(4, keywords=vims(), dtype=dtypes, seed=seeds)
def test_vims_of_drawn_keywords(keywords: dict[str, Any], dtype: str, seed: int) -> None:
    torch.manual_seed(seed)
    check(vitrail.VisionMamba(**keywords).eval(), dtype, "none", seed)


@drawn(4, index=st.integers(0, len(CASES) - 1))
def test_a_loaded_model_is_loaded_again(index: int) -> None:
    model = model_of(index)
    with tempfile.TemporaryDirectory() as folder:
        first = vitrail.load(vitrail.save(model, Path(folder) / "1"))
        second = vitrail.load(vitrail.save(first, Path(folder) / "2"))
        names = ("config.json", "model.safetensors")
        files = [[(Path(folder) / n / name).read_bytes() for name in names] for n in "12"]
    assert files[0] == files[1]
    with torch.no_grad():
        assert torch.equal(second(images_for(model)), model(images_for(model)))
