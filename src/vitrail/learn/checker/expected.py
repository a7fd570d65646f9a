"""What the library computes for the cases of a check: the other side of every comparison."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vitrail.learn.checker.compare import leaves
from vitrail.learn.checker.subject import Call, Subject, make_call, map_tensors, to_double
from vitrail.learn.task import Case, State, Task


@dataclass(frozen=True)
class Result:
    """What a call gives.

    Args:
        output: what it returns.
        input_grads: gradient of each input that is a tensor of floating point numbers; None where
            gradients were not computed.
        parameter_grads: gradients by name.

    Example:
        >>> Result(torch.ones(2), None, {}).input_grads is None
        True
    """

    output: Any
    input_grads: list[Tensor] | None
    parameter_grads: State


@dataclass(frozen=True)
class Expected:
    """A case with its inputs, weights and the library's result.

    Args:
        case: the case.
        seed: of the random numbers that a call may draw.
        inputs: in float64.
        state: the weights by the learner's names.
        result: in evaluation mode.
        training_output: in training mode.
        dtype_output: for float32 weights and inputs.

    Example:
        >>> Expected.__name__
        'Expected'
    """

    case: Case
    seed: int
    inputs: tuple[Any, ...]
    state: State
    result: Result
    training_output: Any
    dtype_output: Any


def run_call(
    call: Call, inputs: tuple[Any, ...], seed: int, *, gradients: bool, training: bool = False
) -> Result:
    """Calls a module or function on copies of inputs.

    Args:
        call: what is called.
        inputs: its arguments.
        seed: of the random numbers that it may draw, and of the direction of the gradient.
        gradients: whether to compute gradients.
        training: whether a module is in training mode.

    Returns:
        The result.

    Example:
        >>> result = run_call(Call(torch.square, None), (torch.ones(2),), 0, gradients=False)
        >>> result.output
        tensor([1., 1.])
    """
    if call.module is not None:
        call.module.train(training).zero_grad(set_to_none=True)

    floats: list[Tensor] = []

    def copy(tensor: Tensor) -> Tensor:
        leaf = tensor.detach().clone()
        if not gradients or not leaf.is_floating_point():
            return leaf
        floats.append(leaf.requires_grad_())
        return leaf.clone()  # which may be overwritten: another stage complains of that

    copies = map_tensors(inputs, copy)
    torch.manual_seed(seed)
    output = call.function(*copies)
    if not gradients:
        return Result(output, None, {})
    torch.manual_seed(seed + 1)
    total = torch.zeros((), dtype=torch.float64)
    for _path, leaf in leaves(output):
        if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.requires_grad:
            total = total + (leaf * torch.randn(leaf.shape, dtype=leaf.dtype)).sum()
    if total.requires_grad:
        total.backward()
    return Result(
        output,
        [_grad(leaf) for leaf in floats],
        {name: _grad(p) for name, p in call.parameters().items()},
    )


def _grad(tensor: Tensor) -> Tensor:
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad.clone()


def reference_of(check: Task, solution: Subject) -> Callable[..., Any]:
    """What the learner's work is compared with.

    Args:
        check: the check.
        solution: the lesson's own.

    Returns:
        The library's class or function, or the solution's.

    Example:
        >>> reference_of(Task("f", (), abs), Subject(max, "", "")) is abs
        True
    """
    return solution.object if check.reference is None else check.reference


@torch.no_grad()
def draw_weights(module: nn.Module) -> None:
    """Fills all parameters with random numbers, those that start from 0 or 1 too.

    Args:
        module: changed in place.

    Example:
        >>> draw_weights(layer := nn.LayerNorm(4))
        >>> bool((layer.weight == 1).any())
        False
    """
    for parameter in module.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 4
        parameter.normal_(std=fan_in**-0.5)


def expectations(check: Task, solution: Subject, seed: int) -> list[Expected]:
    """The library's side of all cases.

    Args:
        check: the check.
        solution: the lesson's own.
        seed: of weights and inputs.

    Returns:
        One per case.

    Example:
        >>> subject = Subject(torch.square, "", "")
        >>> cases = (Case("one", lambda: (torch.ones(2),)),)
        >>> expectations(Task("f", cases), subject, 0)[0].result.output
        tensor([1., 1.], dtype=torch.float64, grad_fn=<...>)
    """
    target = reference_of(check, solution)
    everything = []
    for number, case in enumerate(check.cases):
        own = seed + 10 * number
        torch.manual_seed(own)
        inputs = to_double(case.inputs())
        call = make_call(target, case, is_class=solution.is_class)
        if call.module is not None:
            draw_weights(call.module)
        state = {name: value.detach().clone() for name, value in call.parameters().items()}
        result = run_call(call, inputs, own, gradients=check.gradients)
        result = Result(
            check.output(result.output), result.input_grads, check.weights(result.parameter_grads)
        )
        training = run_call(call, inputs, own, gradients=False, training=True)
        single = None
        if check.dtype:
            if call.module is not None:
                call.module.float()
            floats = map_tensors(inputs, lambda t: t.float() if t.is_floating_point() else t)
            single = check.output(run_call(call, floats, own, gradients=False).output)
        everything.append(
            Expected(
                case, own, inputs, check.weights(state), result, check.output(training.output),
                single,
            )
        )  # fmt: skip
    return everything
