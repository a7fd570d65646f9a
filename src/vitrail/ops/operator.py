"""Registration of functions as operators of PyTorch.

`torch.library.custom_op` imports PyTorch's compiler at the first call of its operator, a second of
processor time in every process. The operators here are registered without it.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

Function = TypeVar("Function", bound=Callable[..., Any])


def operator(name: str, *, differentiable: bool = False) -> Callable[[Function], Function]:
    """Decorator that makes a function of tensors an operator of PyTorch.

    The operator changes none of its arguments, and serves all devices. A fake kernel and a gradient
    are registered under its name by `torch.library.register_fake` and `register_autograd`.

    Args:
        name: the name with its namespace, "vitrail::name".
        differentiable: whether a gradient will be registered; without one, a backward pass through
            the operator raises RuntimeError.

    Returns:
        A decorator. What it returns is called as the function, by position.

    Example:
        >>> @operator("vitrail::example_double")
        ... def double(x: torch.Tensor) -> torch.Tensor:
        ...     return x + x
        >>> double(torch.ones(2)), torch.ops.vitrail.example_double(torch.ones(1))
        (tensor([2., 2.]), tensor([2.]))
    """

    def refuse(_ctx: Any, *_grads: Any) -> None:
        raise RuntimeError(f"{name} has no gradient.")

    def register(function: Function) -> Function:
        torch.library.define(name, torch.library.infer_schema(function, mutates_args=()))
        torch.library.impl(name, "default", function)
        if not differentiable:
            # Without any, the kernel itself would run with gradients on.
            torch.library.register_autograd(name, refuse)
        namespace, own_name = name.split("::")
        return getattr(getattr(torch.ops, namespace), own_name).default

    return register
