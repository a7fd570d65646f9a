"""What becomes of the grid when patches merge, and what vit-pytorch leaves unread."""

import pytest
import torch
from vit_pytorch.vit_with_patch_merger import ViT as TheirPatchMergerViT

from tests.models.small import small
from vitrail.errors import ConfigError, TierError
from vitrail.lens.trace import trace_attention
from vitrail.models.patch_merger_vit import PatchMergerViT

SIZES = {
    "image_size": 32, "patch_size": 8, "num_classes": 5,
    "dim": 32, "depth": 1, "heads": 2, "mlp_dim": 48,
}  # fmt: skip


def unreached(model: torch.nn.Module) -> list[str]:
    model(torch.randn(1, 3, 32, 32)).square().sum().backward()
    return [n for n, p in model.named_parameters() if p.grad is None]


def test_a_single_block_merges_too() -> None:
    """Theirs merges after block number depth // 2, which is none: a merger that is never called."""
    theirs = TheirPatchMergerViT(**SIZES)
    assert "transformer.patch_merger.queries" in unreached(theirs)
    assert unreached(PatchMergerViT(**SIZES)) == []


def test_every_position_is_read() -> None:
    """Theirs has one for a class token that it has not."""
    theirs = TheirPatchMergerViT(**SIZES)
    unreached(theirs)
    assert not theirs.pos_embedding.grad[0, -1].any()
    ours = PatchMergerViT(**SIZES)
    unreached(ours)
    assert ours.position.weight.grad.abs().sum(-1).all()


def test_merged_tokens_are_no_map() -> None:
    model = small("PatchMergerViT", depth=4, merge_after=2, tokens=5)
    images = torch.randn(2, 3, 32, 48)
    grids = [f.grid for f in model.intermediates(images, range(4))]
    assert grids == [(4, 6), (5,), (5,), (5,)]
    assert model.features(images).to_map().shape == (2, 5, 32)
    with pytest.raises(TierError, match="needs every patch"):
        model.encode(model.embed(images).take(torch.zeros(2, 3, dtype=torch.long)))
    with pytest.raises(TierError, match="a layer attends from 5 tokens to 24, not over all tokens"):
        trace_attention(model, images)
    with pytest.raises(ConfigError, match="merge_after=5 is more than depth=4"):
        small("PatchMergerViT", depth=4, merge_after=5)
    for wrong in ({"merge_after": 0}, {"tokens": 0}):
        with pytest.raises(ConfigError, match="=0 is not a whole number of at least 1"):
            small("PatchMergerViT", depth=4, **wrong)


def test_a_model_cut_behind_its_merger_is_rebuilt_from_its_config() -> None:
    model = small("PatchMergerViT", depth=4)
    model.cut(2)
    twin = PatchMergerViT(**model.config)
    twin.load_state_dict(model.state_dict())
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(twin.eval()(images), model(images))
    with pytest.raises(TierError, match="before its patches merge"):
        model.cut(1)
