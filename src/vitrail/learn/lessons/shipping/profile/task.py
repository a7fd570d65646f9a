"""A clock that layers wind themselves, so that times are the same in every run."""

import torch
from torch import nn

import vitrail
from vitrail.learn import Case, Claim, Task


class Clock:
    """A clock that moves on when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class SlowLinear(nn.Linear):
    """A linear layer that takes some seconds."""

    def __init__(self, clock: Clock, seconds: float, *sizes: int) -> None:
        super().__init__(*sizes)
        self.clock, self.seconds = clock, seconds

    def forward(self, x):
        self.clock.now += self.seconds
        return super().forward(x)


class Waits(nn.Module):
    """Something without weights that takes a second."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def forward(self, x):
        self.clock.now += 1
        return x


class Tokens(nn.Module):
    def __init__(self, groups: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(4, dim, 2, 2, groups=groups)

    def forward(self, images):
        return self.proj(images).flatten(2).transpose(1, 2)


def model(groups: int, dim: int, batch: int):
    """A small model with a layer that is called twice, nested layers and waiting between them."""

    def draw():
        clock = Clock()
        shared = SlowLinear(clock, 3, dim, dim)
        block = nn.Sequential(SlowLinear(clock, 5, dim, 3), nn.GELU(), SlowLinear(clock, 2, 3, dim))
        layers = (Tokens(groups, dim), shared, Waits(clock), block, shared, nn.LayerNorm(dim))
        return nn.Sequential(*layers).double(), torch.randn(batch, 4, 4, 6), clock

    return draw


def left_behind(profile) -> int:
    """Hooks that are still there afterwards."""
    network, images, clock = model(1, 4, 1)()
    profile(network.float(), images, clock)
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network.modules())


def of_a_vit(profile) -> list[int]:
    """Calls and multiply-adds of a small ViT."""
    vit = vitrail.ViT(16, 8, num_classes=3, dim=12, depth=2, heads=2, mlp_dim=20).eval()
    figures = profile(vit, torch.zeros(2, 3, 16, 16), Clock())
    return [sum(entry[column] for entry in figures.values()) for column in (0, 1)]


TASK = Task(
    subject="profile",
    cases=(
        Case("B=1, groups=1", model(1, 4, 1)),
        Case("B=3, groups=2", model(2, 6, 3)),
    ),
    gradients=False,
    deterministic=False,
    dtype=False,
    meta=False,
    claims=(
        Claim("No hook is left behind.", "不应留下任何 hook。", left_behind),
        Claim(
            "Of one of the library's ViTs every layer is counted.",
            "对库中的 ViT，每一层都应统计到。",
            of_a_vit,
            stage="swap",
        ),
    ),
)
