"""The recommended setting: chosen by the clock, and saying the same."""

from pathlib import Path
from typing import Any

import pytest
import torch

import vitrail
from tests.models.small import CASES, IDS, small
from vitrail.deploy import precision
from vitrail.errors import ConfigError
from vitrail.layers.inference_params import InferenceParams


# Seconds of the model, of the fused copy and of the copy in bfloat16.
@pytest.mark.parametrize(
    ("seconds", "kind", "speedup"),
    [((3.0, 2.0, 1.0), "bf16", 3.0), ((2.0, 1.0, 0.95), "fp32", 2.0)],
)
def test_the_faster_one_is_selected(
    seconds: tuple[float, ...], kind: str, speedup: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(seconds)
    monkeypatch.setattr(precision, "_seconds", lambda *_: next(times))
    model = small("ViT")
    choice = precision.fastest(model, torch.randn(1, 3, 32, 32))
    assert choice.precision == kind
    assert choice.speedup == speedup
    assert choice.model is not model
    assert any(isinstance(m, precision.HalfBlock) for m in choice.model.modules()) == (
        kind == "bf16"
    )


@pytest.mark.parametrize(("name", "more"), CASES, ids=IDS)
@torch.inference_mode()
def test_every_model_runs_in_half_precision(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more)
    images = torch.randn(2, model.channels, *model.image_size)
    half, full = precision.halve(model)(images), model(images)
    assert half.dtype == torch.float32
    assert (half - full).abs().max() < 0.1 * full.abs().max()


@pytest.mark.parametrize(
    ("name", "more"),
    [("DeiT", {}), ("ViT", {"qk_norm": True, "position": "rope"}), ("VisionMamba", {})],
)
def test_half_precision_is_near_and_leaves_the_model_alone(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    images = torch.randn(4, 3, 32, 32)
    assert torch.isfinite(precision.halve(model)(images)).all()  # outside inference mode too
    with torch.inference_mode():
        half = precision.halve(model)(images)
        full = model(images)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, full, atol=0.02, rtol=0.05)
    assert not torch.equal(half, full)
    # The stream between blocks is float32: the last norm sees no rounding but that of its branches.
    assert precision.halve(model).features(images).patches.dtype == torch.float32
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert precision.fastest(model, images).precision in ("fp32", "bf16")


def test_a_halved_model_reads_part_by_part_and_is_not_saved(tmp_path: Path) -> None:
    model = small("VisionMamba", scan="forward", pool="last", fusion="mean")
    half, images = precision.halve(model), torch.randn(2, 3, *model.image_size)
    cache = InferenceParams(max_seqlen=1000, max_batch_size=2)
    logits = [half(row, inference_params=cache) for row in images.split(8, dim=2)][-1]
    torch.testing.assert_close(logits, half(images), atol=0.02, rtol=0.05)
    with pytest.raises(ConfigError, match="use the model before it is halved"):
        vitrail.save(half, tmp_path / "half")
