"""`methods/mpp.py` computes the same classes, for images that are normalized."""

import torch
import torch.nn.functional as F

import vitrail
from vitrail.learn import Case, Claim, Task
from vitrail.methods.mpp import MPP


def patches(batch: int, count: int, pixels: int, bits: int):
    """Patches of clear colors, one of them white, and a mask."""

    def draw():
        color = torch.rand(batch, count, 3, 1)
        pixel = (color + 0.5 * torch.rand(batch, count, 3, pixels) - 0.25).clamp(0, 1)
        pixel[:, 0] = 1.0
        mask = torch.rand(batch, count) < 0.5
        mask[:, 0], mask[:, 1] = True, False
        return torch.randn(batch, count, 8**bits), pixel.flatten(2), mask, bits

    return draw


def in_the_library(mpp_loss):
    """The learner's loss less that of the library's classes."""
    torch.manual_seed(0)
    model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
    method = MPP(model)
    logits, pixels, mask, _bits = patches(2, 4, 16, 3)()
    pixels = pixels.clamp(0.01, 0.99)  # float32 rounds
    mean, std = (torch.tensor(v)[:, None] for v in (model.preprocess.mean, model.preprocess.std))
    normalized = ((pixels.unflatten(-1, (3, -1)) - mean) / std).flatten(2)
    target = method.color_classes(normalized)
    return mpp_loss(logits, pixels, mask) - F.cross_entropy(logits[mask], target[mask])


TASK = Task(
    subject="mpp_loss",
    cases=(
        Case("B=2, N=6, 4 pixels, 3 bits", patches(2, 6, 4, 3)),
        Case("B=1, N=9, 6 pixels, 2 bits", patches(1, 9, 6, 2)),
        Case("B=3, N=4, 1 pixel, 1 bit", patches(3, 4, 1, 1)),
    ),
    claims=(
        Claim(
            "The classes are those of the library's MPP.",
            "类别应与库中的 MPP 一致。",
            in_the_library,
            stage="swap",
            tolerance=1e-5,
        ),
    ),
)
