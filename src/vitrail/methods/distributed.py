"""What the processes of a distributed run know together. One process alone: what it knows itself.

Every process calls these at the same step, with tensors of the same shape.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if processes() > 1 else 0


@torch.no_grad()
def mean(x: Tensor) -> Tensor:
    """The mean of every process's x (...), without a gradient: for statistics, not for losses."""
    if processes() == 1:
        return x.detach()
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / processes()


def gather(x: Tensor) -> Tensor:
    """x (B, ...) → every process's, in the order of their ranks (processes · B, ...).

    Gradients flow back to the process that each row came from, summed over all losses it went
    into. Where each process computes the loss of all rows, or the mean over its own rows, as CLIP's
    do, the mean over processes that data-parallel training takes then is the gradient of the whole
    loss, exactly. The usual mistake is `all_gather` alone: it has no gradient, and most of the loss
    is lost.
    """
    return x if processes() == 1 else _Gather.apply(x)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        parts = [torch.empty_like(x) for _ in range(processes())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        total = slopes[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[dist.get_rank() * ctx.rows :][: ctx.rows]
