"""Sums and gathers over the processes of a distributed run. With one process they do nothing.

Every process calls these functions at the same step, with tensors of the same shape.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """The number of processes that train together.

    Returns:
        1 where training is not distributed.

    Example:
        >>> world_size()
        1
    """
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The index of this process, from 0.

    Returns:
        0 where training is not distributed.

    Example:
        >>> rank()
        0
    """
    return dist.get_rank() if world_size() > 1 else 0


@torch.no_grad()
def mean(x: Tensor) -> Tensor:
    """The mean of a tensor over all processes, without a gradient: for statistics, not for losses.

    Args:
        x: tensor of any shape.

    Returns:
        The mean, of the same shape.

    Example:
        >>> mean(torch.ones(2))
        tensor([1., 1.])
    """
    if world_size() == 1:
        return x.detach()
    total = x.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def gather(x: Tensor) -> Tensor:
    """The rows of all processes, with a gradient.

    The gradient of a row flows back to the process that it came from, summed over the losses of all
    processes. If each process computes the loss of all rows, or the mean over its own rows as CLIP
    does, then data-parallel training's mean over processes is exactly the gradient of the whole
    loss. The usual mistake is `all_gather` alone, which has no gradient.

    Args:
        x: (B, ...), the rows of this process.

    Returns:
        (processes · B, ...) in the order of ranks.

    Example:
        >>> gather(torch.ones(2, 3)).shape
        torch.Size([2, 3])
    """
    return x if world_size() == 1 else _Gather.apply(x)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.rows = len(x)
        rows = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(rows, x.contiguous())
        return torch.cat(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[dist.get_rank() * ctx.rows :][: ctx.rows]
