"""Results of any nesting: their leaves, their shapes, and where two of them differ."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

DEEPEST = 20  # level of nesting that is looked at
Leaf = tuple[str, Any]  # path such as "[0]" and a tensor, number, text or None


def leaves(value: Any, path: str = "") -> Iterator[Leaf]:
    """The tensors, numbers and texts of a nested result.

    Args:
        value: a tensor, a number, a text, None, or lists, tuples and dictionaries of these.
        path: path of the value, such as "[0]".

    Returns:
        Paths and leaves, in order.

    Example:
        >>> list(leaves({"a": [1, 2]}))
        [("['a'][0]", 1), ("['a'][1]", 2)]
    """
    if path.count("[") > DEEPEST:  # a list may hold itself
        yield path, "..."
    elif isinstance(value, Mapping):
        for key in value:
            yield from leaves(value[key], f"{path}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield from leaves(part, f"{path}[{index}]")
    else:
        yield path, value


def shape_of_result(value: Any, depth: int = 0) -> str:
    """The shape of a result, in a few words.

    Args:
        value: a result.
        depth: level of nesting, of which three are shown.

    Returns:
        Such as "(1, 5, 24)", "2 values: (4,), (4,)" or "a list of 3".

    Example:
        >>> shape_of_result((torch.zeros(4), 1.0))
        'tuple of (4,), float'
    """
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    if depth > 3:
        return "..."
    if isinstance(value, list | tuple):
        parts = ", ".join(shape_of_result(part, depth + 1) for part in value[:6])
        return f"{type(value).__name__} of {parts}{', ...' if len(value) > 6 else ''}"
    if isinstance(value, Mapping):
        parts = ", ".join(
            f"{k}: {shape_of_result(v, depth + 1)}" for k, v in list(value.items())[:6]
        )
        return f"dict of {parts}"
    return type(value).__name__


def same_shape(value: Any, expected: Any) -> bool:
    """Whether two results have the same nesting and shapes; kinds of numbers are one.

    Args:
        value: a result.
        expected: what it is compared with.

    Returns:
        Whether they agree. A list may stand for a tuple.

    Example:
        >>> same_shape([torch.zeros(2), 1], (torch.ones(2), 2.5))
        True
    """
    ours, theirs = list(leaves(value)), list(leaves(expected))
    return [p for p, _ in ours] == [p for p, _ in theirs] and all(
        _kind(a) == _kind(b) for (_, a), (_, b) in zip(ours, theirs, strict=True)
    )


def _kind(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return tuple(leaf.shape)
    return "number" if isinstance(leaf, bool | int | float) else type(leaf).__name__


def difference(value: Any, expected: Any) -> float:
    """The largest difference of two results of the same shape, relative to the largest number.

    Args:
        value: a result.
        expected: what it is compared with.

    Returns:
        The difference; of texts 0 or infinity; of what is no number there alone infinity.

    Example:
        >>> difference(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]))
        0.2
    """
    largest = 0.0
    for (_, ours), (_, theirs) in zip(leaves(value), leaves(expected), strict=True):
        if isinstance(ours, bool | int | float | Tensor):
            a, b = _numbers(ours), _numbers(theirs)
            if a.shape != b.shape or not torch.equal(a.isfinite(), b.isfinite()):
                return float("inf")
            a, b = a.nan_to_num(), b.nan_to_num()
            if a.numel():
                scale = max(1.0, float(b.abs().max()))
                largest = max(largest, float((a - b).abs().max()) / scale)
        elif ours != theirs:
            return float("inf")
    return largest


def _numbers(value: Any) -> Tensor:
    if not isinstance(value, Tensor):
        return torch.tensor(value, dtype=torch.float64)  # which holds all floats
    tensor = value.detach()
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)


def is_finite(leaf: Any) -> bool:
    """Whether a leaf holds neither infinity nor NaN.

    Args:
        leaf: a tensor, a number, a text or None.

    Returns:
        Whether all its numbers are finite.

    Example:
        >>> is_finite(torch.tensor([1.0, float("nan")])), is_finite("a")
        (False, True)
    """
    return not isinstance(leaf, Tensor | float) or bool(torch.as_tensor(leaf).isfinite().all())


def equal(value: Any, expected: Any, tolerance: float = 1e-8) -> bool:
    """Whether two results agree in shape and value.

    Args:
        value: a result.
        expected: what it is compared with.
        tolerance: largest relative difference.

    Returns:
        Whether they agree.

    Example:
        >>> equal((1, torch.ones(2)), (1.0, torch.ones(2)))
        True
    """
    return same_shape(value, expected) and difference(value, expected) <= tolerance


def worst_position(value: Any, expected: Any) -> tuple[str, float, float]:
    """Where two results of the same shape differ most.

    Args:
        value: a result.
        expected: what it is compared with.

    Returns:
        Index such as "[0, 2, 5]", the value there, and the expected one.

    Example:
        >>> worst_position(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]))
        ('[1]', 2.0, 2.5)
    """
    worst, result = -1.0, ("", float("nan"), float("nan"))
    for (path, ours), (_, theirs) in zip(leaves(value), leaves(expected), strict=True):
        if not isinstance(ours, Tensor | bool | int | float):
            continue
        a, b = _numbers(ours), _numbers(theirs)
        if a.is_complex() or not a.numel():
            continue
        gap = (a - b).abs().nan_to_num(nan=float("inf")).flatten()
        if float(gap.max()) > worst:
            worst, flat = float(gap.max()), int(gap.argmax())
            numbers = float(a.flatten()[flat]), float(b.flatten()[flat])
            index: list[int] = []  # torch.unravel_index imports half a second of torch
            for size in reversed(a.shape):
                flat, rest = divmod(flat, size)
                index.insert(0, rest)
            result = (f"{path}{index if index else ''}", *numbers)
    return result
