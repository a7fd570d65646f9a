"""Sums and gathers over the processes of a distributed run. With one process they do nothing.

Every process calls these functions at the same step, with tensors of the same shape.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Value = TypeVar("Value")


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


def mean_values(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The means of figures over all processes, by one sum.

    Args:
        values: tensors () by name, the same names in every process.

    Returns:
        The means by name.

    Example:
        >>> mean_values({"loss": torch.tensor(2.0)})
        {'loss': tensor(2.)}
    """
    if world_size() == 1:
        return values
    rows = torch.stack([value.to(next(iter(values.values()))) for value in values.values()])
    return dict(zip(values, mean(rows), strict=True))


def gather_objects(value: Value) -> list[Value]:
    """A plain value of each process, on the CPU: what does not wait for a GPU.

    Args:
        value: of this process; whatever can be pickled.

    Returns:
        The values in the order of ranks.

    Example:
        >>> gather_objects("a")
        ['a']
    """
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value, group=control_group())
    return values


def together(function: Callable[[], Value]) -> Value:
    """Calls a function in each process. What the file system refuses to one is raised in all.

    Args:
        function: is called once.

    Returns:
        What it returns in this process.

    Raises:
        OSError: the function raised it in some process.

    Example:
        >>> together(lambda: 2)
        2
    """
    problem, result = None, None
    try:
        result = function()
    except OSError as refused:
        if world_size() == 1:
            raise
        problem = refused.errno, refused.strerror, refused.filename
    for other in gather_objects(problem):
        if other is not None:
            raise OSError(*other)
    return result  # type: ignore[return-value]


def deal_back(items: list[Value]) -> list[Value]:
    """What the processes computed of items that they took in turn, in the order of the items.

    Args:
        items: of this process: the first process has items 0, n, 2 n ... of n processes.

    Returns:
        The items of all.

    Example:
        >>> deal_back(["a", "b"])
        ['a', 'b']
    """
    each = gather_objects(items)
    return [each[i % len(each)][i // len(each)] for i in range(sum(map(len, each)))]


def largest(number: int) -> int:
    """The largest of the processes' numbers, without waiting for a GPU.

    Args:
        number: of this process.

    Returns:
        The largest.

    Example:
        >>> largest(3)
        3
    """
    if world_size() == 1:
        return number
    numbers = torch.tensor(number)
    dist.all_reduce(numbers, dist.ReduceOp.MAX, control_group())
    return int(numbers)


def control_group() -> dist.ProcessGroup | None:
    """The group in which processes agree with each other on the CPU, by gloo.

    Returns:
        The group; None where training is not distributed.

    Example:
        >>> control_group() is None
        True
    """
    return _control_group(dist.group.WORLD) if world_size() > 1 else None


@functools.cache
def _control_group(_world: object) -> dist.ProcessGroup:
    group: dist.ProcessGroup = dist.new_group(backend="gloo")
    return group


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
