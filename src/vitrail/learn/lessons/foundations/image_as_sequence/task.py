"""`patchify` and `unpatchify` of `layers/patch.py`; the gap is measured on three layers."""

import torch

from vitrail.layers.patch import patchify, unpatchify
from vitrail.learn import Case, Claim, Task


def attention(x):
    """Without positions: equivariant."""
    weights = (x @ x.transpose(1, 2)).softmax(dim=-1)
    return x + weights @ x


def with_positions(x):
    positions = torch.arange(x.shape[1], dtype=x.dtype, device=x.device)
    return attention(x + positions.sin()[:, None])


def recurrent(x):
    """Each token and half of the one before."""
    before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)
    return x - before.abs() / 2


def inputs(shape: tuple[int, ...], patch: int, layer):
    def draw():
        count = shape[2] * shape[3] // patch**2
        return torch.randn(shape), patch, torch.randperm(count), layer

    return draw


def reference(images, patch, order, layer):
    sequence = patchify(images, (patch, patch))
    grid = (images.shape[2] // patch, images.shape[3] // patch)
    puzzle = unpatchify(sequence[:, order], (patch, patch), grid)
    gap = layer(sequence[:, order]) - layer(sequence)[:, order]
    return sequence, puzzle, gap.abs().max()


def without_positions(experiment):
    torch.manual_seed(3)
    images, order = torch.randn(1, 2, 6, 4).double(), torch.randperm(6)
    return experiment(images, 2, order, attention)[2] < 1e-12


TASK = Task(
    subject="experiment",
    cases=(
        Case("2 x 3 patches, a layer with positions", inputs((2, 3, 4, 6), 2, with_positions)),
        Case("3 x 2 patches, a recurrent layer", inputs((1, 1, 9, 6), 3, recurrent)),
        Case("2 x 4 patches, attention alone", inputs((2, 2, 4, 8), 2, attention)),
    ),
    reference=reference,
    claims=(
        Claim(
            "Attention without positions has no gap.",
            "没有位置编码的注意力，误差为 0。",
            without_positions,
        ),
    ),
)
