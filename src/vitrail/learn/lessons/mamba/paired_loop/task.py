"""The loop of the first Vision Mamba code, which reads layers in pairs."""

import torch

from vitrail.learn import Case, Task


def layer(weight: float):
    """A layer whose output depends on the order of tokens, and on the residual."""

    def run(hidden, residual):
        residual = hidden if residual is None else hidden + residual
        channel = torch.linspace(0.5, 1.5, residual.shape[2], dtype=residual.dtype)
        return torch.tanh(residual.cumsum(1) * channel * weight), residual

    return run


def inputs(depth: int, batch: int, count: int, dim: int, starts: bool = True):
    def draw():
        layers = [layer(0.1 + 0.17 * number) for number in range(depth)]
        residual = None if starts else torch.randn(batch, count, dim)
        return layers, torch.randn(batch, count, dim), residual

    return draw


TASK = Task(
    subject="paired_loop",
    cases=(
        Case("4 layers, B=2, N=5, D=3", inputs(4, 2, 5, 3)),
        Case("2 layers, the residual is given", inputs(2, 1, 4, 4, starts=False)),
        Case("6 layers, B=3, N=3, D=3", inputs(6, 3, 3, 3, starts=False)),
    ),
)
