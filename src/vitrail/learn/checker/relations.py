"""How a wrong output is related to the right one, where no wrong version of the lesson matches."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from vitrail.learn.checker.compare import leaves
from vitrail.messages import _

CLOSE = 1e-8
FUNCTIONS = {  # which learners forget, or apply once too often
    "relu": torch.relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "exp": torch.exp,
    "abs": torch.abs,
    "square": torch.square,
    "sqrt": lambda x: x.clamp_min(0.0).sqrt(),
    "softplus": functional.softplus,
    "softmax(-1)": lambda x: x.softmax(-1),
    "log_softmax(-1)": lambda x: x.log_softmax(-1),
    "normalize(-1)": lambda x: functional.normalize(x, dim=-1),
    "layer_norm": lambda x: functional.layer_norm(x, x.shape[-1:]),
    "1 - x": lambda x: 1 - x,
    "1 / x": lambda x: 1 / x,
}
MOST_ENTRIES = 64  # along an axis, whose order is looked for


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
        (where, a.detach().double(), b.detach().double())
        for (where, a), (_q, b) in zip(leaves(output), leaves(target), strict=True)
        if isinstance(a, Tensor) and isinstance(b, Tensor) and a.is_floating_point()
    ]
    if not pairs:
        return ""
    if any(not a.isfinite().all() and b.isfinite().all() for _w, a, b in pairs):
        text = _("{name} holds NaN or infinity, the expected one does not.")
        return text.format(name=name)
    gap = max(float((a - b).abs().max()) if a.numel() else 0.0 for _w, a, b in pairs)
    if gap < 1e-5:
        return _("It is a matter of rounding: some step computes in float32, or another epsilon.")
    floats = [t for _, t in leaves(inputs) if isinstance(t, Tensor) and t.is_floating_point()]
    wrong = [(w, a, b) for w, a, b in pairs if a.numel() and not _small(a - b, b)]
    if len(wrong) != 1:
        return ""
    where, ours, theirs = wrong[0]
    if len(list(leaves(output))) > 1:
        name = _("entry {where} of {name}").format(where=where, name=name)
    return _of_one(ours, theirs, floats).format(name=name)


def _of_one(output: Tensor, target: Tensor, inputs: list[Tensor]) -> str:
    """The relation as a sentence with "{name}" in it."""
    error = output - target
    if (output == 0).all():
        return _("{name} is 0 everywhere.")
    if output.numel() == 1:  # any number is some multiple of any other
        return ""
    factor = float((output * target).sum() / target.square().sum().clamp_min(1e-300))
    if _small(output + target, target):
        return _("{name} has the opposite sign.")
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
    return (
        _of_functions(output, target)
        or _of_sums(output, target)
        or _of_axes(output, target)
        or _masked(output, target)
    )


def _of_functions(output: Tensor, target: Tensor) -> str:
    """A function that the output has gone through and the target has not, or the other way."""
    for name, function in FUNCTIONS.items():
        if _small(output - function(target), target):
            return _("{name} is {function} of the expected.").format(name="{name}", function=name)
        if _small(target - function(output), target):
            text = _("{function} is missing: applied to {name}, it gives the expected.")
            return text.format(name="{name}", function=name)
    return ""


def _of_sums(output: Tensor, target: Tensor) -> str:
    """Weights that sum to 1 along another axis."""

    def axes_of_one(tensor: Tensor) -> set[int]:
        axes = [axis for axis in range(tensor.ndim) if tensor.shape[axis] > 1]
        return {a for a in axes if bool(((tensor.sum(a) - 1).abs() < CLOSE).all())}

    ours, theirs = axes_of_one(output), axes_of_one(target)
    if theirs and ours != theirs and bool((output >= 0).all()):
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
            text = _moved(output, target, axis)
            if text:
                return text
    for first in range(output.ndim):
        for second in range(first + 1, output.ndim):
            swapped = output.transpose(first, second)
            if swapped.shape == target.shape and _small(swapped - target, target):
                text = _("axes {first} and {second} of {name} have changed positions.")
                return text.format(first=first, second=second, name="{name}")
    ours, theirs = output.flatten().sort().values, target.flatten().sort().values
    if _small(ours - theirs, target):
        return _("{name} has the right numbers in another order: compare reshapes and permutes.")
    return ""


def _moved(output: Tensor, target: Tensor, axis: int) -> str:
    """Entries along an axis that stand one further, or in another order."""
    count = output.shape[axis]
    inner = {"axis": axis, "name": "{name}"}
    for shift, text in (
        (1, _("{name} is off by one along axis {axis}: entry n is the expected n - 1.")),
        (-1, _("{name} is off by one along axis {axis}: entry n is the expected n + 1.")),
    ):
        ours = output.narrow(axis, max(shift, 0), count - 1)
        theirs = target.narrow(axis, max(-shift, 0), count - 1)
        if _small(ours - theirs, target) and not _small(ours - ours.mean(axis, True), target):
            return text.format(**inner)
    if not 2 < count <= MOST_ENTRIES:
        return ""
    order = [
        next((j for j in range(count) if _small(entry - target.select(axis, j), target)), -1)
        for entry in output.unbind(axis)
    ]
    if sorted(order) == list(range(count)):
        text = _("along axis {axis} of {name} the order is {order}, not 0, 1, 2 ...")
        return text.format(order=", ".join(map(str, order[:8])), **inner)
    return ""


def _masked(output: Tensor, target: Tensor) -> str:
    """Right but for entries that have all been set to one number."""
    wrong = (output - target).abs() > CLOSE * target.abs().max().clamp_min(1.0)
    values = output[wrong]
    if 1 < len(values) < output.numel() * 0.8 and bool((values == values[0]).all()):
        text = _("{count} of {total} entries of {name} have been set to {value:.4g}.")
        inner = {"count": len(values), "total": output.numel(), "value": float(values[0])}
        return text.format(name="{name}", **inner)
    return ""


def relation_of_parts(
    output: Any, target: Any, sources: Iterable[tuple[str, Tensor]], name: str = ""
) -> str:
    """Which of the tensors that a sum is made of counts too much or too little in it.

    Args:
        output: a result with the target's shape.
        target: the right result.
        sources: names and values of variables and parameters.
        name: what it is called; "" for "your output".

    Returns:
        A sentence in the user's language; "" where nothing fits.

    Example:
        >>> x, y = torch.randn(2, 3, dtype=torch.float64), torch.randn(3, dtype=torch.float64)
        >>> relation_of_parts(x + 2 * y, x + y, [("y", y)])
        'your output holds y once too often.'
    """
    if not isinstance(output, Tensor) or not isinstance(target, Tensor):
        return ""
    if output.shape != target.shape or not output.is_floating_point() or target.numel() < 3:
        return ""
    name = name or _("your output")
    output, target = output.detach().double(), target.detach().double()
    error = output - target
    for source, tensor in sources:
        try:
            part = tensor.detach().double().expand_as(target)
        except RuntimeError:
            continue
        if _small(error - part, target):
            return _("{name} holds {source} once too often.").format(name=name, source=source)
        if _small(error + part, target):
            return _("{name} lacks {source}.").format(name=name, source=source)
        entries = _entries_with(error, part, target)
        if entries:
            text = _("in the entries {entries}, {name} holds {source} once too often.")
            return text.format(entries=entries, name=name, source=source)
        if bool((part - part.flatten()[0]).any()):
            if _small(output - target * part, target):
                return _("{name} is multiplied by {source} once too often.").format(
                    name=name, source=source
                )
            if _small(target - output * part, target):
                text = _("{name} is not multiplied by {source}, or divided by it once too often.")
                return text.format(name=name, source=source)
        ours, theirs = output - part, target - part
        if _small(theirs, target) or _small(ours, target):
            continue
        factor = float((ours * theirs).sum() / theirs.square().sum())
        if _small(ours - factor * theirs, target):
            text = _("{name} is {source} plus {factor:.4g} times what should be added.")
            return text.format(name=name, source=source, factor=factor)
    return ""


def _entries_with(error: Tensor, part: Tensor, target: Tensor) -> str:
    """Where along an axis an error is a part of a sum, if it is 0 elsewhere; else ""."""
    for axis in range(error.ndim):
        pieces = [*zip(error.unbind(axis), part.unbind(axis), strict=True)]
        wrong = [n for n, (piece, _part) in enumerate(pieces) if not _small(piece, target)]
        if 0 < len(wrong) < len(pieces) and all(
            _small(pieces[n][0] - pieces[n][1], target) for n in wrong
        ):
            return _("{indices} of axis {axis}").format(
                indices=", ".join(map(str, wrong)), axis=axis
            )
    return ""


def weak_relation(output: Any, target: Any) -> str:
    """Along one axis proportional to the target, or different by the same number.

    Args:
        output: a result with the target's shape.
        target: the right result.

    Returns:
        A sentence in the user's language, which says less than those of `relation`; or "".

    Example:
        >>> target = torch.arange(6.0).view(2, 3)
        >>> weak_relation(target * torch.tensor([[2.0], [3.0]]), target).split(":")[0]
        'along axis 1 your output is a multiple of the expected, with factors from 2 to 3'
    """
    if not isinstance(output, Tensor) or not isinstance(target, Tensor):
        return ""
    if not output.is_floating_point() or output.shape != target.shape:
        return ""
    output, target = output.detach().double(), target.detach().double()
    return _of_lines(output, target).format(name=_("your output"))


def _of_lines(output: Tensor, target: Tensor) -> str:
    for axis in range(output.ndim - 1, -1, -1):
        if output.shape[axis] < 3 or output.numel() == output.shape[axis]:
            continue
        inner = {"axis": axis, "name": "{name}"}
        error = output - target
        if _small(error - error.mean(axis, keepdim=True), target):
            text = _(
                "along axis {axis} {name} differs from the expected by the same number: something "
                "is added, or taken off, that does not depend on this axis."
            )
            return text.format(**inner)
        factors = (output * target).sum(axis, keepdim=True)
        factors = factors / target.square().sum(axis, keepdim=True).clamp_min(1e-300)
        if _small(output - factors * target, target) and bool((factors.abs() > CLOSE).all()):
            text = _(
                "along axis {axis} {name} is a multiple of the expected, with factors from "
                "{low:.4g} to {high:.4g}: a scale or a norm is missing, or is one too many."
            )
            return text.format(low=float(factors.min()), high=float(factors.max()), **inner)
    return ""


def _small(tensor: Tensor, target: Tensor) -> bool:
    scale = target.abs().nan_to_num(posinf=0.0).max().clamp_min(1.0)
    return bool(tensor.abs().max() <= CLOSE * scale)
