"""Signals, images, videos: grids of one, two and three axes."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import vitrail
from tests.models.small import images_for, small
from tests.train.tiny import tiny
from vitrail.deploy.fuse import fuse
from vitrail.errors import ConfigError, DataError, TierError
from vitrail.layers.position import resize_positions, rotate, rotation, sincos_positions
from vitrail.lens.features import pca_colors
from vitrail.lens.plots import panels
from vitrail.lens.shapes import shapes
from vitrail.lens.trace import trace_attention
from vitrail.models.surgery import resized
from vitrail.train.factory import build_model, open_datasets

SIGNAL = {"image_size": (64,)}
VIDEO = {"image_size": (4, 16, 16), "patch_size": (2, 8, 8)}
SPACE_THEN_TIME = {"form": "factorised-encoder", "depth": (2, 2)}


@pytest.mark.parametrize(
    ("name", "keywords", "message"),
    [
        ("ViT", {"image_size": (1, 2, 3, 4)}, "(1, 2, 3, 4) is not 1 or 2 or 3 whole numbers"),
        ("ViT", {**SIGNAL, "patch_size": (8, 8)}, "(8, 8) is not 1 whole number of at least 1"),
        ("ViT", {**VIDEO, "patch_size": (8, 8)}, "(8, 8) is not 3 whole numbers of at least 1"),
        ("ViT", {**SIGNAL, "antialias": True}, "set antialias=False"),
        ("DeiT", SIGNAL, "(64,) is not 2 whole numbers of at least 1"),
        ("ViViT", {"image_size": (16, 16)}, "(16, 16) is not 3 whole numbers"),
        ("ViViT", {"form": "factorised-attention"}, "has no class token: use pool='mean'"),
        ("ViViT", {"form": "factorised-encoder"}, "use two numbers such as (12, 4)"),
        ("ViViT", {"depth": (2, 2)}, "depth=(2, 2) does not fit form='joint': use one number"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as problem:
        small(name, **keywords)
    assert message in str(problem.value)


@pytest.mark.parametrize(
    ("keywords", "cure"),
    [
        (SIGNAL, "give (batch, 3, length)"),
        ({}, "give (batch, 3, height, width)"),
        (VIDEO, "give (batch, 3, frames, height, width)"),
    ],
)
def test_images_of_other_axes_are_refused(keywords: dict[str, Any], cure: str) -> None:
    model = small("ViT", **keywords)
    for size in {1: (64,), 2: (32, 32), 3: (4, 16, 16)}.values():
        if len(size) != len(model.image_size):
            with pytest.raises(DataError) as problem:
                model(torch.randn(2, 3, *size))
            assert cure in str(problem.value)


def test_a_number_alone_is_a_square() -> None:
    assert small("ViT", image_size=32).image_size == (32, 32)
    assert small("ViT", image_size=(16, 16, 16)).patch_embed.patch == (8, 8, 8)


def test_patches_of_signals_and_videos_are_those_of_convolutions() -> None:
    for keywords, convolve in ((SIGNAL, F.conv1d), (VIDEO, F.conv3d)):
        embed = small("ViT", **keywords).patch_embed
        images = torch.randn(2, 3, *keywords["image_size"])
        expected = convolve(images, embed.weight, embed.bias, stride=embed.patch)
        tokens, grid = embed(images)
        assert grid == expected.shape[2:]
        torch.testing.assert_close(tokens, expected.flatten(2).mT)


@pytest.mark.parametrize(
    ("old", "new", "mode"), [((5,), (8,), "linear"), ((2, 3, 4), (3, 6, 2), "trilinear")]
)
def test_positions_are_resampled_on_every_grid(
    old: tuple[int, ...], new: tuple[int, ...], mode: str
) -> None:
    table = torch.randn(1, torch.Size(old).numel(), 6)
    assert resize_positions(table, old, old) is table
    expected = F.interpolate(table.mT.unflatten(-1, old), new, mode=mode).flatten(2).mT
    torch.testing.assert_close(resize_positions(table, old, new), expected)


@pytest.mark.parametrize(("grid", "dim"), [((9,), 8), ((3, 4, 5), 26)])
def test_sines_name_every_position(grid: tuple[int, ...], dim: int) -> None:
    table = sincos_positions(grid, dim)[0]
    assert table.shape == (torch.Size(grid).numel(), dim)
    assert torch.cdist(table, table).add(torch.eye(len(table))).min() > 0.1
    rest = dim % (2 * len(grid))
    assert (table == 0).all(dim=0).sum() >= rest
    with pytest.raises(ConfigError, match="cannot carry sine positions in 1-D: use a multiple"):
        sincos_positions((9,), 7)


@pytest.mark.parametrize(("grid", "head_dim"), [((9,), 6), ((3, 4, 5), 16)])
def test_rotations_make_attention_relative(grid: tuple[int, ...], head_dim: int) -> None:
    tables = rotation(grid, grid, head_dim, prefix=1)
    count = torch.Size(grid).numel()
    q, k = torch.randn(2, 1, 1, 1, head_dim).expand(2, 1, 1, 1 + count, head_dim)
    logits = (rotate(q, tables) @ rotate(k, tables).mT)[0, 0, 1:, 1:].reshape(*grid, *grid)
    one = (1,) * len(grid)
    zero, last = (0,) * len(grid), tuple(side - 1 for side in grid)
    before = tuple(side - 2 for side in grid)
    torch.testing.assert_close(logits[zero + one], logits[before + last])
    assert not torch.isclose(logits[zero + one], logits[one + zero])
    for axis in range(len(grid)):  # every axis is rotated
        step = tuple(int(i == axis) for i in range(len(grid)))
        assert not torch.isclose(logits[zero + zero], logits[zero + step])


@pytest.mark.parametrize("keywords", [SIGNAL, VIDEO])
def test_lens_sees_every_grid_and_draws_it(keywords: dict[str, Any]) -> None:
    model = small("ViT", **keywords)
    images = torch.randn(2, 3, *model.image_size)
    look = trace_attention(model, images)
    assert look.attention[0].shape == (2, 2, *model.grid)
    assert look.rollout.shape == (2, *model.grid)
    assert pca_colors(look.features).shape == (2, *model.grid, 3)
    assert shapes(model)[0].shape == " x ".join(map(str, images.shape[1:]))
    drawn = panels(torch.zeros(3, *model.image_size, dtype=torch.uint8), look)
    assert [len(row) for row in drawn] == [1] * (5 + 2)  # two pictures of colors: two images
    with pytest.raises(TierError, match="cannot be drawn over 2 axes"):
        panels(torch.zeros(3, 16, 16, dtype=torch.uint8), look)


def test_what_looks_at_frames_one_by_one_gives_no_map_of_all() -> None:
    for more in (SPACE_THEN_TIME, {"form": "factorised-attention", "pool": "mean"}):
        model = small("ViViT", **more)
        videos = torch.randn(2, 3, *model.image_size)
        with vitrail.record(model) as maps:
            model(videos)
        assert next(iter(maps.values())).shape[0] == 2 * 2  # one sequence per frame
        with pytest.raises(TierError, match="not over all tokens of the grid 2 x 2 x 2"):
            trace_attention(model, videos)


@pytest.mark.parametrize(
    ("name", "keywords", "size"),
    [
        ("ViT", SIGNAL, (96,)),
        ("ViT", VIDEO, (6, 16, 24)),
        ("ViViT", {}, (6, 16, 24)),
        ("ViViT", SPACE_THEN_TIME, (6, 16, 24)),
    ],
)
def test_another_size_for_good(
    name: str, keywords: dict[str, Any], size: tuple[int, ...], tmp_path: Path
) -> None:
    model = small(name, **keywords)
    images = torch.randn(2, 3, *size)
    vitrail.save(model, tmp_path / "model")
    loaded = vitrail.load(tmp_path / "model", image_size=size)
    torch.testing.assert_close(loaded(images), model(images))
    assert loaded.image_size == loaded.config["image_size"] == size
    vitrail.save(loaded, tmp_path / "other")
    assert torch.equal(vitrail.load(tmp_path / "other")(images), loaded(images))


def test_one_number_sizes_every_axis() -> None:
    assert resized(small("ViT", **SIGNAL), 96).image_size == (96,)


def test_training_refuses_what_its_datasets_do_not_hold() -> None:
    run = tiny("model.options.image_size=[64]")
    with pytest.raises(ConfigError, match="takes 64 pixels, and the samples have 2 axes"):
        build_model(run, open_datasets(run).train)


def test_frames_in_time_have_positions() -> None:
    model = small("ViViT", **SPACE_THEN_TIME)
    video = torch.randn(1, 3, 4, 16, 16)
    swapped = torch.cat([video[:, :, 2:], video[:, :, :2]], dim=2)  # two tubelets, the other first
    assert not torch.allclose(model(video), model(swapped))
    torch.nn.init.zeros_(model.blocks[2][0].position.weight)
    torch.testing.assert_close(model(video), model(swapped))


def test_blocks_of_two_kinds_cannot_be_cut() -> None:
    model = small("ViViT")
    model.cut(1)
    assert model(torch.randn(1, 3, *model.image_size)).shape == (1, 5)
    with pytest.raises(TierError, match=r"has depth \(2, 2\), which cannot be cut"):
        small("ViViT", **SPACE_THEN_TIME).cut(3)


@torch.no_grad()
@pytest.mark.parametrize("position", ["learned", "rope"])
def test_a_residual_is_rotated_before_every_block(position: str) -> None:
    model = small("ViT", residual_rope=True, position=position, norm="rms").double()
    embedded = model.embed(images_for(model).double())
    tokens, context, _ = model.to_sequence(embedded)
    cos, sin = rotation(model.grid, model.grid, model.dim, prefix=1, theta=10_000.0)
    assert all(type(m) is not torch.nn.LayerNorm for m in model.modules())
    expected = tokens
    for block in model.blocks:
        x = rotate(expected, (cos, sin))
        x = x + block.mixer(block.norm1(x), *context[1:])
        expected = x + block.mlp(block.norm2(x))
    torch.testing.assert_close(model.run_blocks(tokens, *context), expected)
    assert torch.equal(rotate(tokens, (cos, sin))[:, :1], tokens[:, :1]), "the class token turned"
    keep = torch.tensor([[0, 3, 5], [1, 2, 7]])
    alone = model.features(images_for(model).double())
    kept = model.encode(embedded.take(keep))
    assert kept.patches.shape == (2, 3, model.dim) and alone.patches.shape[1] == 16
    whole = model.encode(embedded.take(torch.arange(16).expand(2, -1)))
    torch.testing.assert_close(whole.patches, alone.patches)
    fused = fuse(small("ViT", residual_rope=True, layer_scale=0.5))
    assert all(type(block.scale1) is torch.nn.Identity for block in fused.blocks)
