"""A convolution over three axes whose stride is its size: `layers/patch.py` on a grid of three."""

import torch
import torch.nn.functional as F

from vitrail.learn import Case, Claim, Task


def video(batch: int, channels: int, frames: int, height: int, width: int):
    return lambda: (torch.randn(batch, channels, frames, height, width),)


def as_convolution(TubeletEmbed):
    """The learner's tokens less those of a convolution with the same weights."""
    torch.manual_seed(0)
    embed, clip = TubeletEmbed(2, 4, 3, 5), torch.randn(2, 3, 4, 8, 12)
    with torch.no_grad():
        kernel = embed.proj.weight.view(5, 3, 2, 4, 4)
        grid = F.conv3d(clip, kernel, embed.proj.bias, stride=(2, 4, 4))
        return embed(clip) - grid.flatten(2).transpose(1, 2)


TASK = Task(
    subject="TubeletEmbed",
    cases=(
        Case(
            "B=2, 4 frames of 8 x 12",
            video(2, 3, 4, 8, 12),
            {"frames": 2, "patch": 4, "channels": 3, "dim": 5},
        ),
        Case(
            "B=1, one channel, 6 frames of 4 x 2",
            video(1, 1, 6, 4, 2),
            {"frames": 3, "patch": 2, "channels": 1, "dim": 4},
        ),
        Case(
            "B=2, all sizes are 2",
            video(2, 2, 4, 4, 4),
            {"frames": 2, "patch": 2, "channels": 2, "dim": 2},
        ),
    ),
    claims=(
        Claim(
            "A convolution over three axes with these weights gives the same tokens.",
            "用同样的权重做三维卷积，应得到相同的 token。",
            as_convolution,
            stage="swap",
            tolerance=1e-4,
        ),
    ),
)
