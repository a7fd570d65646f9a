"""Each mechanism against what its paper says of it."""

import pytest
import torch
import torch.nn.functional as F

from vitrail.errors import ConfigError, TierError
from vitrail.layers.attention import Attend, Attention
from vitrail.layers.block import DropPath, drop_path_rates
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, patchify, unpatchify
from vitrail.layers.position import resize_positions, rotate, rotation, sincos_positions
from vitrail.models.base import Backbone
from vitrail.models.features import Features
from vitrail.models.tiers import PyramidBackbone


@pytest.mark.parametrize("patch", [(4,), (4, 2), (2, 4, 3)])
def test_linear_and_convolutional_patch_embedding_are_equal(patch: tuple[int, ...]) -> None:
    embed = PatchEmbed(patch, channels=3, dim=7).double()
    images = torch.randn(2, 3, *[p * (i + 2) for i, p in enumerate(patch)], dtype=torch.double)
    gradients = []
    for embed.backend in ("linear", "conv"):
        embed.zero_grad()
        tokens, grid = embed(images)
        tokens.square().sum().backward()
        gradients.append((tokens, *[p.grad.clone() for p in embed.parameters()]))
    for linear, convolution in zip(*gradients, strict=True):
        torch.testing.assert_close(linear, convolution, rtol=1e-12, atol=1e-12)
    assert grid == tuple(i + 2 for i in range(len(patch)))


@pytest.mark.parametrize("patch", [(4,), (4, 2), (2, 4, 3)])
def test_unpatchify_undoes_patchify(patch: tuple[int, ...]) -> None:
    grid = tuple(range(2, 2 + len(patch)))
    images = torch.randn(2, 3, *[p * g for p, g in zip(patch, grid, strict=True)])
    assert torch.equal(unpatchify(patchify(images, patch), patch, grid), images)


def test_a_patch_is_read_row_by_row() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    assert patchify(image, (2, 2))[0, 1].tolist() == [2, 3, 6, 7]


def test_an_unknown_patch_backend_is_an_error() -> None:
    embed = PatchEmbed((2, 2), 1, 4)
    embed.backend = "fast"
    with pytest.raises(ConfigError, match="'fast' is neither"):
        embed(torch.zeros(1, 1, 4, 4))


def test_attend_equals_the_formula_and_the_recorder_gets_its_weights() -> None:
    q, k, v = torch.randn(3, 2, 4, 9, 8, dtype=torch.double)
    bias = torch.randn(9, 9, dtype=torch.double)
    expected = (q @ k.mT / 8**0.5 + bias).softmax(-1)
    attend, recorded = Attend(), []
    unrecorded = attend(q, k, v, bias)
    attend.recorder = recorded.append
    assert torch.equal(attend(q, k, v, bias), unrecorded)
    torch.testing.assert_close(unrecorded, expected @ v, rtol=0, atol=1e-12)
    torch.testing.assert_close(recorded[0], expected, rtol=0, atol=1e-12)


def test_qk_norm_bounds_the_logits() -> None:
    attention = Attention(16, 2, qk_norm=True).double()
    x = torch.randn(1, 5, 16, dtype=torch.double)
    seen = []
    attention.attend.tap = seen.append
    attention(x), attention(1000 * x)
    # Normalised heads have length sqrt(8), so logits lie within ±sqrt(8).
    assert all((w.log().diff(dim=-1).abs() <= 2 * 8**0.5 + 1e-6).all() for w in seen)


def test_drop_path_drops_whole_samples_and_keeps_the_expectation() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25).train()
    x = drop(torch.ones(20_000, 3))
    assert (x[:, :1] == x).all()
    assert x.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert x.mean().item() == pytest.approx(1.0, abs=0.02)
    assert torch.equal(drop.eval()(torch.ones(2, 3)), torch.ones(2, 3))
    assert drop_path_rates(0.3, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_rotations_make_attention_relative() -> None:
    cos, sin = rotation((6, 6), (6, 6), 8)
    q, k = torch.randn(2, 1, 1, 1, 8).expand(2, 1, 1, 36, 8)
    logits = (rotate(q, (cos, sin)) @ rotate(k, (cos, sin)).mT)[0, 0].reshape(6, 6, 6, 6)
    # From (1, 2) to (3, 1) is the same step as from (2, 4) to (4, 3).
    torch.testing.assert_close(logits[1, 2, 3, 1], logits[2, 4, 4, 3])
    assert not torch.isclose(logits[1, 2, 3, 1], logits[1, 2, 1, 3])


def test_rotations_keep_lengths_prefix_and_scale() -> None:
    tables = rotation((4, 4), (4, 4), 8, prefix=2)
    x = torch.randn(1, 2, 18, 8)
    torch.testing.assert_close(rotate(x, tables).norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(rotate(x, tables)[:, :, :2], x[:, :, :2])
    doubled = rotation((8, 8), (4, 4), 8)
    torch.testing.assert_close(doubled[0].reshape(8, 8, 8)[::2, ::2].flatten(0, 1), tables[0][2:])
    with pytest.raises(ConfigError, match="head dimension 6"):
        rotation((4, 4), (4, 4), 6)


def test_sincos_positions_name_every_place() -> None:
    table = sincos_positions((5, 7), 32)[0]
    assert table.shape == (35, 32)
    assert torch.cdist(table, table).add(torch.eye(35)).min() > 0.1
    with pytest.raises(ConfigError, match="dim=6"):
        sincos_positions((5, 7), 6)


def test_resized_positions_keep_a_plane_and_their_own_grid() -> None:
    table = torch.randn(1, 12, 5)
    assert resize_positions(table, (3, 4), (3, 4)) is table
    constant = torch.full((1, 12, 5), 0.7)
    resized = resize_positions(constant, (3, 4), (6, 5))
    torch.testing.assert_close(resized, torch.full((1, 30, 5), 0.7))
    image = table.reshape(1, 3, 4, 5).permute(0, 3, 1, 2)
    expected = F.interpolate(image, (6, 5), mode="bicubic").flatten(2).mT
    torch.testing.assert_close(resize_positions(table, (3, 4), (6, 5)), expected)


class Halve(torch.nn.Module):
    """A stage that averages 2 x 2 patches."""

    def forward(self, features: Features) -> Features:
        image = F.avg_pool2d(features.to_map(channels_first=True), 2)
        return features._replace(patches=image.flatten(2).mT, grid=tuple(image.shape[2:]))


class Toy(PyramidBackbone):
    """The least pyramid there is."""

    def __init__(self, image_size: int = 16, num_classes: int = 3) -> None:
        super().__init__(image_size, 3, num_classes)
        self.patch_embed = PatchEmbed((2, 2), 3, 8)
        self.blocks = torch.nn.ModuleList([Halve(), Halve()])
        self.norm = torch.nn.LayerNorm(8)
        self.head = self.make_head(num_classes)

    pooled_dim = 8

    def embed(self, images: torch.Tensor) -> Features:
        patches, grid = self.patch_embed(images)
        return Features(patches, patches[:, :0], grid)

    def pool(self, features: Features) -> torch.Tensor:
        return features.patches.mean(1)


def test_a_pyramid_shrinks_its_grid_and_refuses_to_drop() -> None:
    model: Backbone = Toy()
    images = torch.randn(2, 3, 16, 16)
    assert model(images).shape == (2, 3)
    assert [f.grid for f in model.intermediates(images, [0, -1])] == [(4, 4), (2, 2)]
    dropped = model.embed(images).take(torch.tensor([[0, 1], [2, 3]]))
    with pytest.raises(TierError, match="Toy needs every patch"):
        model.encode(dropped)
    with pytest.raises(TierError, match="fills no grid"):
        dropped.to_map(channels_first=True)


def test_the_mlp_is_the_same_with_and_without_gradients() -> None:
    mlp = Mlp(8, 16)
    x = torch.randn(2, 3, 8)
    expected = mlp.fc2(F.gelu(mlp.fc1(x)))
    before = x.clone()
    assert torch.equal(mlp(x), expected)
    with torch.no_grad():
        assert torch.equal(mlp(x), expected)
    assert torch.equal(x, before)
    outputs = []
    mlp.fc1.register_forward_hook(lambda *call: outputs.append(call[2]))
    with torch.no_grad():
        mlp(x)
    assert torch.equal(outputs[0], mlp.fc1(x)), "what a hook stored was overwritten"
