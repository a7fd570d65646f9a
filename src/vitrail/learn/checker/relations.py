"""How a wrong output is related to the right one, where no wrong version of the lesson matches."""

from typing import Any

import torch
from torch import Tensor

from vitrail.learn.checker.compare import leaves
from vitrail.messages import _

CLOSE = 1e-8


def relation(output: Any, target: Any, inputs: Any, name: str = "") -> str:
    """What an output, or a variable on the way, is instead of the target.

    Args:
        output: a result with the target's shape.
        target: the right result.
        inputs: arguments of the call.
        name: what it is called; "" for "your output".

    Returns:
        A sentence in the user's language; "" where nothing fits.

    Example:
        >>> relation(torch.tensor([2.0, 4.0]), torch.tensor([1.0, 2.0]), ())
        'your output is 2 times the expected one.'
    """
    name = name or _("your output")
    pairs = [
        (a.detach().double(), b.detach().double())
        for (_p, a), (_q, b) in zip(leaves(output), leaves(target), strict=True)
        if isinstance(a, Tensor) and isinstance(b, Tensor) and a.is_floating_point()
    ]
    if not pairs:
        return ""
    if any(not a.isfinite().all() and b.isfinite().all() for a, b in pairs):
        text = _("{name} holds NaN or infinity, the expected one does not.")
        return text.format(name=name)
    gap = max(float((a - b).abs().max()) if a.numel() else 0.0 for a, b in pairs)
    if gap < 1e-5:
        return _("It is a matter of rounding: some step computes in float32, or another epsilon.")
    if len(pairs) == 1:
        floats = [t for _, t in leaves(inputs) if isinstance(t, Tensor) and t.is_floating_point()]
        return _of_one(*pairs[0], floats).format(name=name)
    return ""


def _of_one(output: Tensor, target: Tensor, inputs: list[Tensor]) -> str:
    """The relation as a sentence with "{name}" in it."""
    error = output - target
    if (output == 0).all():
        return _("{name} is 0 everywhere.")
    if output.numel() == 1:  # any number is some multiple of any other
        return ""
    factor = float((output * target).sum() / target.square().sum().clamp_min(1e-300))
    if _small(output - factor * target, target) and abs(factor) > CLOSE:
        text = _("{name} is {factor:.4g} times the expected one.")
        return text.format(name="{name}", factor=factor)
    if _small(error - error.mean(), target):
        text = _("{name} is the expected one plus {number:.4g} everywhere.")
        return text.format(name="{name}", number=float(error.mean()))
    for x in inputs:
        if x.shape == output.shape:
            if _small(output - x, target):
                return _("{name} is the input, unchanged.")
            if _small(error - x, target):
                return _("{name} holds the input once too often: a residual too many.")
            if _small(error + x, target):
                return _("{name} lacks the input: the residual is missing.")
    return _of_sums(output, target) or _of_axes(output, target)


def _of_sums(output: Tensor, target: Tensor) -> str:
    """Weights that sum to 1 along another axis."""

    def axes_of_one(tensor: Tensor) -> set[int]:
        axes = [axis for axis in range(tensor.ndim) if tensor.shape[axis] > 1]
        return {a for a in axes if bool(((tensor.sum(a) - 1).abs() < CLOSE).all())}

    ours, theirs = axes_of_one(output), axes_of_one(target)
    if theirs and ours != theirs:
        if not ours:
            text = _("the numbers of {name} do not sum to 1 along axis {expected}.")
            return text.format(name="{name}", expected=min(theirs))
        text = _("the numbers of {name} sum to 1 along axis {axis}, they should along {expected}.")
        return text.format(name="{name}", axis=min(ours), expected=min(theirs))
    return ""


def _of_axes(output: Tensor, target: Tensor) -> str:
    """Reversed, permuted, transposed, or right in a part."""
    for axis in range(output.ndim):
        if output.shape[axis] > 1:
            if _small(output.flip(axis) - target, target):
                text = _("axis {axis} of {name} is in reversed order.")
                return text.format(axis=axis, name="{name}")
            same = [
                bool(_small(output.select(axis, i) - target.select(axis, i), target))
                for i in range(output.shape[axis])
            ]
            if same.count(False) * 2 < len(same):
                indices = ", ".join(str(i) for i, good in enumerate(same) if not good)
                text = _("along axis {axis} of {name} only the entries {indices} are wrong.")
                return text.format(axis=axis, indices=indices, name="{name}")
    for first in range(output.ndim):
        for second in range(first + 1, output.ndim):
            swapped = output.transpose(first, second)
            if swapped.shape == target.shape and _small(swapped - target, target):
                text = _("axes {first} and {second} of {name} have changed positions.")
                return text.format(first=first, second=second, name="{name}")
    ours, theirs = output.flatten().sort().values, target.flatten().sort().values
    if _small(ours - theirs, target):
        return _("{name} has the right numbers in another order: a reshape without a permute?")
    return ""


def _small(tensor: Tensor, target: Tensor) -> bool:
    return bool(tensor.abs().max() <= CLOSE * target.abs().max().clamp_min(1.0)) and (
        torch.isfinite(tensor).all().item() is True
    )
