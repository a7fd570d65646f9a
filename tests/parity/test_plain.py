"""Bugs that several of vit-pytorch's plain ViTs share, and ours have not."""

import pytest
import torch
from torch import nn
from vit_pytorch import deepvit, efficient, parallel_vit, vit_for_small_dataset

import vitrail
from tests.models.small import small

SIZES = {"image_size": 32, "patch_size": 8, "num_classes": 5, "dim": 32}
MORE = {"depth": 1, "heads": 2, "mlp_dim": 48}


def theirs(name: str, **more: object) -> nn.Module:
    """vit-pytorch's small model of that name, with blocks that change nothing."""
    if name == "EfficientViT":
        return efficient.ViT(**SIZES, **more, transformer=nn.Identity())
    modules = {"DeepViT": deepvit, "SmallViT": vit_for_small_dataset, "ParallelViT": parallel_vit}
    made = getattr(modules[name], "DeepViT" if name == "DeepViT" else "ViT")(
        **SIZES, **MORE, **more
    )
    made.transformer = nn.Identity()
    return made


every = pytest.mark.parametrize("name", ["DeepViT", "SmallViT", "ParallelViT", "EfficientViT"])


def reached(model: nn.Module, size: tuple[int, int], parameter: nn.Parameter) -> torch.Tensor:
    """Whose gradient of the pooled features is not zero: (rows,) of a table."""
    model(torch.randn(1, 3, *size)).square().sum().backward()
    return parameter.grad.reshape(-1, parameter.shape[-1]).abs().sum(1) > 0


@every
def test_mean_pooling_reads_patches_only(name: str) -> None:
    """Theirs averages the class token among the patches."""
    model = theirs(name, pool="mean")
    assert reached(model, (32, 32), model.cls_token).all()
    ours = small(name, pool="mean")
    features = ours.features(torch.randn(1, 3, 32, 32))
    assert features.prefix.shape[1] == 0
    assert torch.equal(ours.pool(features), features.patches.mean(1))


@every
@torch.inference_mode()
def test_positions_of_a_smaller_image_are_resampled(name: str) -> None:
    """Theirs takes the first rows of the table: patches of an upper left corner stand in a line."""
    model = theirs(name, pool="mean")
    with pytest.raises(RuntimeError, match="must match"):
        model(torch.randn(1, 3, 48, 48))
    model.to_patch_embedding.register_forward_hook(lambda _module, _input, out: out.zero_())
    model.mlp_head = nn.Identity()
    found = model(torch.randn(1, 3, 16, 16))
    in_line = model.pos_embedding[0, 1:5]
    expected = (model.cls_token[0, 0] + model.pos_embedding[0, 0] + in_line.sum(0)) / 5
    torch.testing.assert_close(found[0], expected)

    ours = small(name)
    ours.patch_embed.register_forward_hook(lambda _module, _input, out: (0 * out[0], out[1]))
    found = ours.embed(torch.randn(1, 3, 16, 16)).patches
    torch.testing.assert_close(found, ours.position((2, 2))[:, 1:])


def test_mixed_heads_are_normalised_as_the_formula_says() -> None:
    re_attention = (
        vitrail.create_model("deepvit_16_patch16_224", depth=1).blocks[0].mixer.attend.after
    )
    nn.init.normal_(re_attention.weight)
    nn.init.normal_(re_attention.bias)
    nn.init.normal_(re_attention.theta_bias)
    weights = torch.rand(2, 12, 5, 7).softmax(-1)
    mixed = torch.einsum("bhnm,hg->bnmg", weights, re_attention.theta) + re_attention.theta_bias
    normed = nn.functional.layer_norm(mixed, (12,), re_attention.weight, re_attention.bias)
    expected = normed.permute(0, 3, 1, 2)
    torch.testing.assert_close(re_attention(weights), expected, rtol=1e-4, atol=1e-4)
    with torch.inference_mode():  # another way there
        torch.testing.assert_close(re_attention(weights), expected, rtol=1e-4, atol=1e-4)
