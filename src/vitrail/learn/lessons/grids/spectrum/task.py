"""`layers/patch.py` and `layers/position.py` on a grid of one axis."""

import torch
import torch.nn.functional as F

from vitrail.layers.position import sincos_positions
from vitrail.learn import Case, Claim, Task


def signal(*shape: int):
    return lambda: (torch.randn(shape),)


def sizes(patch: int, stride: int, channels: int, dim: int):
    return {"patch": patch, "stride": stride, "channels": channels, "dim": dim}


def as_convolution(SignalTokens):
    """The learner's tokens less those of a convolution with the same weights, and positions."""
    torch.manual_seed(0)
    embed, spectrum = SignalTokens(4, 3, 2, 8), torch.randn(2, 2, 15)
    with torch.no_grad():
        kernel = embed.proj.weight.view(8, 2, 4)
        tokens = F.conv1d(spectrum, kernel, embed.proj.bias, stride=3).transpose(1, 2)
        return embed(spectrum) - tokens - sincos_positions((tokens.shape[1],), 8).float()


TASK = Task(
    subject="SignalTokens",
    cases=(
        Case("B=2, C=3, L=14, patch 4, stride 2", signal(2, 3, 14), sizes(4, 2, 3, 8)),
        Case("B=1, C=1, L=9, patch 3, stride 3", signal(1, 1, 9), sizes(3, 3, 1, 4)),
        Case("B=3, C=2, L=13, patch 4, stride 3", signal(3, 2, 13), sizes(4, 3, 2, 12)),
    ),
    claims=(
        Claim(
            "A convolution over one axis, with the library's positions, gives the same tokens.",
            "一维卷积加上库中的位置编码，应得到相同的 token。",
            as_convolution,
            stage="swap",
            tolerance=1e-4,
        ),
    ),
)
