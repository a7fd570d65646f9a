"""The mixers against attention itself, and what their libraries do that the papers do not."""

import pytest
import torch
import torch.nn.functional as F
from linformer.linformer import LinformerSelfAttention
from nystrom_attention import NystromAttention
from torch import Tensor

from tests.models.small import small
from vitrail.errors import ConfigError
from vitrail.layers.linear_attention import Linformer, Nystrom, Performer
from vitrail.models.surgery import resized


def qkv(tokens: int, head_dim: int = 16, batch: int = 2) -> list[Tensor]:
    return [torch.randn(batch, 3, tokens, head_dim, dtype=torch.double) for _ in "qkv"]


def quiet(mixer: Nystrom) -> Nystrom:
    """Without its convolution of the values."""
    torch.nn.init.zeros_(mixer.conv.weight)
    return mixer.double()


def test_nystrom_with_a_landmark_for_every_token_is_attention() -> None:
    q, k, v = qkv(12)
    expected = F.scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(quiet(Nystrom(3, 12))(q, k, v), expected)
    torch.testing.assert_close(quiet(Nystrom(3, 40))(q, k, v), expected)
    # The formula, with q̃ = q and a converged inverse, says the same.
    mixer = quiet(Nystrom(3, 11, iterations=40))
    q, k, v = (t[:, :, :11] for t in (q, k, v))
    weights = (q @ k.mT / 4).softmax(-1)
    inverse = mixer._inverse(weights)
    torch.testing.assert_close(weights @ inverse @ weights, weights, rtol=1e-4, atol=1e-6)


def test_landmarks_are_means_of_runs_of_tokens() -> None:
    x = torch.arange(11.0).reshape(1, 1, 11, 1)
    means = Nystrom(1, 4)._means(x).flatten()
    assert means.tolist() == [1.0, 4.0, 7.0, 9.5]  # 3, 3, 3 and 2 tokens


def test_nystrom_keeps_the_samples_of_a_batch_apart() -> None:
    """The library scales all pseudoinverses by the largest norm in the batch."""
    theirs = NystromAttention(32, dim_head=16, heads=2, num_landmarks=4, pinv_iterations=2).double()
    x = torch.randn(2, 12, 32, dtype=torch.double)
    other = torch.stack([x[0], 20 * x[1]])
    assert not torch.allclose(theirs(x)[0], theirs(other)[0], atol=1e-6)
    q, k, v = qkv(12)
    mixer = Nystrom(3, 4, iterations=2).double()
    q2, k2 = (torch.stack([t[0], 20 * t[1]]) for t in (q, k))
    torch.testing.assert_close(mixer(q, k, v)[0], mixer(q2, k2, v)[0], rtol=0, atol=1e-12)


def test_nystrom_attends_to_no_padding() -> None:
    """The library pads 9 tokens to 12 with zeros, which then take part in every softmax."""
    theirs = NystromAttention(32, dim_head=16, heads=2, num_landmarks=4, residual=False)
    _, weights = theirs(torch.randn(1, 9, 32), return_attn=True)
    assert weights.shape[-1] == 12
    assert weights[..., -9:, 3:].sum(-1).max() < 0.9, "and a part of every token's attention"
    q, k, v = qkv(9)
    ones = torch.ones_like(v)
    torch.testing.assert_close(quiet(Nystrom(3, 4, iterations=20))(q, k, ones), ones)


def test_performer_estimates_attention() -> None:
    q, k, v = (t / 2 for t in qkv(20))
    exact = F.scaled_dot_product_attention(q, k, v)
    errors = [
        (Performer(16, count, seed=0, epsilon=0.0).double()(q, k, v) - exact).abs().mean()
        for count in (16, 256, 4096)
    ]
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.1 * exact.abs().mean()


def test_performers_features_are_orthogonal_and_the_same_every_time() -> None:
    torch.manual_seed(0)
    omega = Performer(8, 20, seed=3).omega
    torch.manual_seed(1)
    assert torch.equal(Performer(8, 20, seed=3).omega, omega)
    assert not torch.equal(Performer(8, 20, seed=4).omega, omega)
    for block in omega.split(8):
        gram = block @ block.T
        torch.testing.assert_close(gram, gram.diagonal().diag(), rtol=0, atol=1e-5)
    lengths = Performer(64, 4000, seed=0).omega.norm(dim=1)
    assert abs(lengths.mean() - 7.97) < 0.05
    assert abs(lengths.std() - 0.5**0.5) < 0.05


def test_mixers_without_logits_refuse_a_bias() -> None:
    q, k, v = qkv(6)
    for mixer in (Nystrom(3, 4), Performer(16, 8, seed=0)):
        with pytest.raises(ConfigError, match="has no logits of all pairs of tokens"):
            mixer(q, k, v, torch.zeros(6, 6))


def test_linformer_weighs_patches_by_their_places() -> None:
    """The library gives fewer tokens the first rows of its table, wherever they come from."""
    theirs = LinformerSelfAttention(32, 17, k=4, heads=2)
    mixer = Linformer(32, 2, (4, 4), prefix=1, rank=4)
    x = torch.randn(2, 17, 32)
    kept = torch.tensor([[1, 6, 11], [0, 3, 15]])
    chosen = torch.stack([x[i, F.pad(kept[i] + 1, (1, 0))] for i in range(2)])
    with torch.no_grad():
        before = theirs(chosen)
        theirs.proj_k[4:], theirs.proj_v[4:] = torch.nan, torch.nan
        assert torch.equal(theirs(chosen), before)

    found = mixer(chosen, (4, 4), kept)
    # As if the patches that were dropped were zeros, and the others larger by 16 / 3.
    absent = torch.ones(2, 17, dtype=torch.bool)
    absent[:, 0] = False
    absent.scatter_(1, kept + 1, False)
    scale = torch.full((17, 1), 16 / 3)
    scale[0] = 1
    sums = mixer.sums.T @ (x * scale).masked_fill(absent[..., None], 0)
    keys, values = sums.split(4, dim=1)
    q, k, v = (
        t.unflatten(-1, (2, -1)).transpose(1, 2)
        for t in (mixer.q(chosen), mixer.k(keys), mixer.v(values))
    )
    out = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    torch.testing.assert_close(found, mixer.proj(out))


def test_linformers_sums_are_resampled_as_large_as_they_were() -> None:
    mixer = Linformer(32, 2, (4, 4), prefix=1, rank=4)
    with torch.no_grad():
        mixer.sums.copy_(torch.linspace(1, 2, 8).expand(17, 8))
    finer = mixer.sums_at((8, 6))
    assert finer.shape == (49, 8)
    torch.testing.assert_close(finer.sum(0), mixer.sums.sum(0))


def test_a_linformer_made_for_another_size_computes_the_same_there() -> None:
    model = small("EfficientViT", mixer="linformer")
    images = torch.randn(2, 3, 48, 24)
    other = resized(model, (48, 24))
    assert other.blocks[0].mixer.sums.shape == (1 + 6 * 3, 8)
    torch.testing.assert_close(other(images), model(images))
