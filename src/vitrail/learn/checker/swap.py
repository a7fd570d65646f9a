"""The learner's module in the stead of a layer of the library's own model."""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.learn.checker.expected import draw_weights
from vitrail.learn.checker.subject import Subject
from vitrail.learn.task import Case, Swap, Task

LEARNING_RATE = 0.1


def swapped_outputs(
    swap: Swap, check: Task, subject: Subject, seed: int
) -> list[tuple[Tensor, Tensor]]:
    """Logits with the learner's module and without, before and after one step of training.

    Args:
        swap: where the module goes.
        check: its check.
        subject: the learner's class or function.
        seed: of weights and images.

    Returns:
        Two pairs, learner's and library's.

    Example:
        >>> swapped_outputs.__name__
        'swapped_outputs'
    """
    torch.manual_seed(seed)
    theirs = swap.model().double()
    draw_weights(theirs)
    images = swap.inputs().double()
    ours = copy.deepcopy(theirs)
    part: Any = subject.object
    if subject.is_class:
        call = subject.build(Case("", tuple, swap.options))
        layer = ours.get_submodule(swap.path)
        state = {name: value.detach() for name, value in layer.named_parameters()}
        call.load(check.weights(state))
        part = call.module
    module = part if swap.adapt is None else swap.adapt(part)
    ours.set_submodule(swap.path, module)
    outputs = [(_logits(ours, images, seed), _logits(theirs, images, seed))]
    for model in (ours, theirs):
        _train(model, images, seed)
    return [*outputs, (_logits(ours, images, seed), _logits(theirs, images, seed))]


def _logits(model: nn.Module, images: Tensor, seed: int) -> Tensor:
    torch.manual_seed(seed)
    with torch.no_grad():
        logits: Tensor = model.eval()(images)
    return logits


def _train(model: nn.Module, images: Tensor, seed: int) -> None:
    """One step of gradient descent."""
    torch.manual_seed(seed)
    logits = model.train()(images)
    labels = torch.arange(len(images)) % logits.shape[1]
    F.cross_entropy(logits, labels).backward()
    with torch.no_grad():  # importing torch.optim would take a second
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.sub_(LEARNING_RATE * parameter.grad)
