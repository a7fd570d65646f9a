"""PVT at other sizes than its own, where transformers fails."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

import vitrail
from parity.oracle import close, images, randomise

SMALL = {
    "hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 2, 4, 4],
    "num_labels": 7,
}  # fmt: skip


def theirs(image_size: int) -> nn.Module:
    config = transformers.PvtConfig(image_size=image_size, **SMALL)
    return randomise(transformers.PvtForImageClassification(config))


def stretched(name: str, tensor: Tensor) -> Tensor:
    """Positions of a model for 64 pixels, for one of 96; the class token's stays."""
    if not name.endswith("position_embeddings"):
        return tensor
    token, table = tensor[:, : tensor.shape[1] % 2], tensor[:, tensor.shape[1] % 2 :]
    side = int(table.shape[1] ** 0.5)
    image = table.transpose(1, 2).unflatten(2, (side, side))
    image = F.interpolate(image, size=(side * 3 // 2, side * 3 // 2), mode="bilinear")
    return torch.cat([token, image.flatten(2).transpose(1, 2)], dim=1)


@torch.inference_mode()
def test_positions_of_every_stage_are_resampled(tmp_path: Path) -> None:
    original, larger = theirs(64), theirs(96)
    original.save_pretrained(tmp_path)
    weights = {name: stretched(name, t) for name, t in original.state_dict().items()}
    larger.load_state_dict(weights)
    expected = larger(images(96, 96)).logits
    close(vitrail.load(tmp_path)(images(96, 96)), expected)
    resized = vitrail.load(tmp_path, image_size=96)
    assert resized.image_size == (96, 96)
    close(resized(images(96, 96)), expected)


@torch.inference_mode()
def test_transformers_knows_one_size_only(tmp_path: Path) -> None:
    original = theirs(64)
    with pytest.raises(RuntimeError, match="shape"):
        original(images(96, 96))
    # With as many patches in another shape, it reads the table by the wrong rows.
    original.save_pretrained(tmp_path)
    ours = vitrail.load(tmp_path)
    assert not torch.allclose(ours(images(128, 32)), original(images(128, 32)).logits, atol=0.01)
