"""Where ViViT's originals go wrong, and ours does not."""

import importlib

import pytest
import torch
import transformers
import vit_pytorch.vivit

import vitrail

SMALL = {"num_classes": 5, "dim": 32, "heads": 2, "mlp_dim": 48}
OURS = {**SMALL, "image_size": (4, 16, 16), "patch_size": (2, 8, 8)}
THEIRS = {
    **SMALL, "frames": 4, "image_size": 16, "frame_patch_size": 2, "image_patch_size": 8,
    "spatial_depth": 2, "temporal_depth": 2,
}  # fmt: skip


def videos(*size: int) -> torch.Tensor:
    return torch.randn(2, 3, *size)


def test_vit_pytorchs_readme_imports_a_class_that_is_not_there() -> None:
    module = importlib.import_module("vit_pytorch.vivit")
    assert not hasattr(module, "ViT"), "its README: from vit_pytorch.vivit import ViT"


@pytest.mark.parametrize("variant", ["factorized_encoder", "factorized_self_attention"])
def test_vit_pytorch_drops_attention_at_inference(variant: str) -> None:
    """Its fused attention is handed the rate of dropout whether the model trains or not."""
    theirs = vit_pytorch.vivit.ViViT(**THEIRS, variant=variant, dropout=0.5).eval()
    given = videos(4, 16, 16)
    assert not torch.allclose(theirs(given), theirs(given))
    ours = vitrail.create_model(
        "ViViT", **OURS, depth=(2, 2), form="factorised-encoder", dropout=0.5
    ).eval()
    assert torch.equal(ours(given), ours(given))


def test_vit_pytorch_takes_more_frames_than_it_has_positions_for() -> None:
    """It crashes on a longer video; the paper resamples positions, and so do we."""
    theirs = vit_pytorch.vivit.ViViT(**THEIRS).eval()
    with pytest.raises(RuntimeError, match="must match the size"):
        theirs(videos(6, 16, 16))
    ours = vitrail.create_model("ViViT", **OURS, depth=(2, 2), form="factorised-encoder")
    assert ours(videos(6, 16, 16)).shape == (2, 5)


def test_vit_pytorch_has_no_positions_in_time_after_the_frames() -> None:
    """The authors' temporal encoder has its own table of positions: 115.1 M parameters."""
    theirs = vit_pytorch.vivit.ViViT(**THEIRS)
    assert [n for n, _ in theirs.named_parameters() if "pos" in n] == ["pos_embedding"]
    ours = vitrail.create_model("ViViT", **OURS, depth=(2, 2), form="factorised-encoder")
    assert [n for n, _ in ours.named_parameters() if "pos" in n] == [
        "position.weight", "blocks.2.0.position.weight",
    ]  # fmt: skip


def test_transformers_cannot_resample_positions_of_videos() -> None:
    """`interpolate_pos_encoding` takes the table for that of a square image."""
    config = transformers.VivitConfig(
        image_size=16, num_frames=4, tubelet_size=[2, 8, 8], hidden_size=32, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=48,
    )  # fmt: skip
    theirs = transformers.VivitForVideoClassification(config).eval()
    given = videos(4, 24, 16)
    with pytest.raises(RuntimeError, match="is invalid for input of size"):
        theirs(given.transpose(1, 2), interpolate_pos_encoding=True)
    ours = vitrail.create_model("ViViT", **OURS, depth=1)
    assert ours(given).shape == (2, 5)
