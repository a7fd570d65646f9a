"""How a wrong output is related to the right one, where no wrong version of the lesson matches."""

from typing import Any

import torch
from torch import Tensor

from vitrail.learn.checker.compare import leaves
from vitrail.messages import _

CLOSE = 1e-8


def relation(output: Any, target: Any, inputs: Any) -> str:
    """What an output is instead of the target.

    Args:
        output: a result with the target's shape.
        target: the right result.
        inputs: arguments of the call.

    Returns:
        A sentence in the user's language; "" where nothing fits.

    Example:
        >>> relation(torch.tensor([2.0, 4.0]), torch.tensor([1.0, 2.0]), ())
        'Your output is 2 times the expected one.'
    """
    pairs = [
        (a.detach().double(), b.detach().double())
        for (_p, a), (_q, b) in zip(leaves(output), leaves(target), strict=True)
        if isinstance(a, Tensor) and isinstance(b, Tensor) and a.is_floating_point()
    ]
    if not pairs:
        return ""
    if any(not a.isfinite().all() and b.isfinite().all() for a, b in pairs):
        return _("Your output holds NaN or infinity, the expected one does not.")
    gap = max(float((a - b).abs().max()) if a.numel() else 0.0 for a, b in pairs)
    if gap < 1e-5:
        return _("It is a matter of rounding: some step computes in float32, or another epsilon.")
    if len(pairs) == 1:
        floats = [t for _, t in leaves(inputs) if isinstance(t, Tensor) and t.is_floating_point()]
        return _of_one(*pairs[0], floats)
    return ""


def _of_one(output: Tensor, target: Tensor, inputs: list[Tensor]) -> str:
    error = output - target
    if (output == 0).all():
        return _("Your output is 0 everywhere.")
    factor = float((output * target).sum() / target.square().sum().clamp_min(1e-300))
    if _small(output - factor * target, target) and abs(factor) > CLOSE:
        return _("Your output is {factor:.4g} times the expected one.").format(factor=factor)
    if output.numel() > 1 and _small(error - error.mean(), target):
        return _("Your output is the expected one plus {number:.4g} everywhere.").format(
            number=float(error.mean())
        )
    for x in inputs:
        if x.shape == output.shape:
            if _small(output - x, target):
                return _("Your output is the input, unchanged.")
            if _small(error - x, target):
                return _("Your output holds the input once too often: a residual too many.")
            if _small(error + x, target):
                return _("Your output lacks the input: the residual is missing.")
    if text := _of_axes(output, target):
        return text
    return ""


def _of_axes(output: Tensor, target: Tensor) -> str:
    """Reversed, permuted, transposed, or right in a part."""
    for axis in range(output.ndim):
        if output.shape[axis] > 1:
            if _small(output.flip(axis) - target, target):
                return _("Axis {axis} of your output is in reversed order.").format(axis=axis)
            same = [
                bool(_small(output.select(axis, i) - target.select(axis, i), target))
                for i in range(output.shape[axis])
            ]
            if any(same):
                indices = ", ".join(str(i) for i, good in enumerate(same) if not good)
                text = _("Along axis {axis} only the entries {indices} are wrong.")
                return text.format(axis=axis, indices=indices)
    for first in range(output.ndim):
        for second in range(first + 1, output.ndim):
            swapped = output.transpose(first, second)
            if swapped.shape == target.shape and _small(swapped - target, target):
                text = _("Axes {first} and {second} of your output change positions.")
                return text.format(first=first, second=second)
    ours, theirs = output.flatten().sort().values, target.flatten().sort().values
    if _small(ours - theirs, target):
        return _("Your output has the right numbers in another order: a reshape without a permute.")
    return ""


def _small(tensor: Tensor, target: Tensor) -> bool:
    return bool(tensor.abs().max() <= CLOSE * target.abs().max().clamp_min(1.0)) and (
        torch.isfinite(tensor).all().item() is True
    )
