"""Registration of functions as operators of PyTorch.

`torch.library.custom_op` imports PyTorch's compiler at the first call of its operator, a second of
processor time in every process. The operators here are registered without it.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

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


def gradients_of_reference(
    reference: Callable[..., Tensor], inputs: Sequence[Tensor | None], grad: Tensor
) -> list[Tensor | None]:
    """Gradients that can be differentiated again, for a backward pass with create_graph=True.

    Args:
        reference: function of the inputs that autograd differentiates any number of times.
        inputs: the operator's inputs; None for one that is absent.
        grad: gradient of the output.

    Returns:
        One gradient per input; None for an input without one.

    Example:
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> (first,) = gradients_of_reference(lambda x: x**3, [x], torch.ones(()))
        >>> torch.autograd.grad(first, x)
        (tensor(18.),)
    """
    output = reference(*inputs)
    learning = [t for t in inputs if t is not None and t.requires_grad]
    grads = iter(torch.autograd.grad(output, learning, grad.to(output.dtype), create_graph=True))
    return [next(grads) if t is not None and t.requires_grad else None for t in inputs]


def is_transformed() -> bool:
    """Whether torch.func transforms the call, or forward-mode autograd may follow it.

    Only plain functions of PyTorch have all transforms.

    Returns:
        True within vmap, grad, jvp and what is made of them.

    Example:
        >>> is_transformed(), torch.func.vmap(lambda x: x + is_transformed())(torch.zeros(1))
        (False, tensor([1.]))
    """
    if torch.compiler.is_compiling():
        return False  # the compiler cannot trace what follows
    # private: there are no public names. Without them torch.func.grad of a Vision Mamba fails, and
    # jvp and dual numbers ignore its operators (tests/ops/test_operator.py).
    return forward_ad._current_level >= 0 or torch._C._functorch.maybe_current_level() is not None
