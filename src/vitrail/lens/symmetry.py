"""Whether a model reads its patches alike from both ends: f(x) beside flip(f(flip(x)))."""

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from vitrail.arguments import checked
from vitrail.errors import TierError
from vitrail.models.base import Backbone
from vitrail.models.features import Features


class BlockSymmetry(NamedTuple):
    """How much the output of a block depends on the direction of the sequence.

    Args:
        block: index of the block, in a pyramid of the stage.
        difference: norm of f(x) - flip(f(flip(x))) as a fraction of the norm of f(x), both without
            the mean over patches: 0 for a symmetric model, √2 for unrelated outputs.
        cosine: cosine similarity of both outputs for each patch, (B, *grid).

    Example:
        >>> BlockSymmetry(0, 0.0, torch.ones(1, 2, 2)).cosine.shape
        torch.Size([1, 2, 2])
    """

    block: int
    difference: float
    cosine: Tensor


@checked
def symmetry(model: Backbone, images: Tensor) -> list[BlockSymmetry]:
    """Compares the outputs of each block for embedded patches x and for their reversed sequence.

    The patches keep their contents and the positions that the embedding added; only the order in
    which the blocks read them is reversed, and their outputs are put back into the order of x. What
    remains is how unequal the directions are: a scan in one direction, two directions with
    parameters of their own, rotations and biases of positions within the blocks.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).

    Returns:
        One result per block.

    Raises:
        TierError: the model carries more than its patches from block to block, or drops some.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=2, heads=2, mlp_dim=8).eval()
        >>> [round(row.difference, 3) for row in symmetry(model, torch.rand(1, 3, 8, 8))]
        [0.0, 0.0]
    """
    count = len(model.blocks)
    with torch.inference_mode():
        embedded = model.embed(images)
        if embedded.extras:
            raise TierError(
                f"{type(model).__name__} carries a second sequence beside its patches, which has "
                "no reversed order."
            )
        reverse = embedded._replace(patches=embedded.patches.flip(1))
        plain, flipped = (_outputs(model, each, images, count) for each in (embedded, reverse))
    rows = []
    for block, (one, other) in enumerate(zip(plain, flipped, strict=True)):
        if one.keep_indices is not None or other.patches.shape != one.patches.shape:
            raise TierError(f"{type(model).__name__} drops patches: no order of them is reversed.")
        x, y = one.patches.double(), other.patches.flip(1).double()
        cosine = torch.cosine_similarity(x, y, dim=-1).unflatten(1, one.grid)
        norm = (x - x.mean(1, keepdim=True)).norm()
        rows.append(BlockSymmetry(block, float((x - y).norm() / norm.clamp_min(1e-30)), cosine))
    return rows


def _outputs(model: Backbone, embedded: Features, images: Tensor, count: int) -> list[Features]:
    """Features after each block of a model whose embedding gives `embedded`."""
    twin = copy.copy(model)  # shares parameters and modules; only its `embed` is another
    twin.embed = lambda images: embedded  # type: ignore[method-assign]
    return twin.block_outputs(images, count)
