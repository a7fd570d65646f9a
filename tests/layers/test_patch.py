"""Patches: cutting, putting together, projecting."""

import pytest
import torch

from vitrail.errors import ConfigError
from vitrail.layers.patch import PatchEmbed, patchify, unpatchify


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


def test_an_empty_batch_has_the_patches_of_its_grid() -> None:
    tokens, grid = PatchEmbed((4, 4), 3, 8)(torch.zeros(0, 3, 8, 12))
    assert tokens.shape == (0, 6, 8)
    assert grid == (2, 3)
