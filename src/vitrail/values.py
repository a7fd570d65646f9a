"""Types of constructor keywords, and the check of what a caller gives for them.

A constructor annotates each keyword with what it may be, `depth: PositiveInt` or
`pool: Literal["cls", "mean"]`. Type checkers and `help()` read the annotation, and `bind` checks
the values of a call against it, so that a constructor only checks what relates two keywords.
"""

import collections
import math
import numbers
import operator
import os
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from vitrail.errors import ConfigError, describe_value, suggest

MAX_WRAPPERS = 5  # of a module: compiled, parallel, averaged


class Range:
    """The numbers that an annotation allows, as metadata of `Annotated`.

    Args:
        low: smallest number.
        high: largest number; infinity for no limit.
        low_included: whether `low` itself is allowed.
        high_included: whether `high` itself is allowed.

    Example:
        >>> 0.5 in Range(0, 1), 1 in Range(0, 1, high_included=False)
        (True, False)
        >>> Range(1)
        at least 1
    """

    def __init__(
        self,
        low: float,
        high: float = math.inf,
        *,
        low_included: bool = True,
        high_included: bool = True,
    ) -> None:
        self.low, self.high = low, high
        self.low_included, self.high_included = low_included, high_included

    def __contains__(self, value: float) -> bool:
        above = value >= self.low if self.low_included else value > self.low
        below = value <= self.high if self.high_included else value < self.high
        return above and below and abs(value) != math.inf

    def __repr__(self) -> str:
        low = f"at least {self.low:g}" if self.low_included else f"above {self.low:g}"
        if self.high == math.inf:
            return low
        return f"{low} and {'at most' if self.high_included else 'below'} {self.high:g}"


PositiveInt = Annotated[int, Range(1)]
NonNegativeInt = Annotated[int, Range(0)]
PositiveFloat = Annotated[float, Range(0, low_included=False)]
NonNegativeFloat = Annotated[float, Range(0)]
Fraction = Annotated[float, Range(0, 1)]
Rate = Annotated[float, Range(0, 1, high_included=False)]  # of dropout and stochastic depth
Size = PositiveInt | tuple[PositiveInt, ...]  # pixels: one number for all axes, or one per axis


def convert_value(value: Any, hint: Any) -> Any:
    """Converts a value to what an annotation allows.

    Args:
        value: any value.
        hint: an annotation of plain values, paths, classes, functions, lists, tuples, mappings,
            `Literal`, unions of these, or `Annotated` with a `Range`. A value with any other
            annotation is returned unchanged.

    Returns:
        The value as a plain Python value: NumPy's numbers become Python's, lists become tuples.

    Raises:
        ValueError: the annotation does not allow the value.

    Example:
        >>> convert_value([4, 8], tuple[PositiveInt, ...])
        (4, 8)
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        value = convert_value(value, arguments[0])
        if any(value not in limit for limit in arguments[1:] if hasattr(limit, "__contains__")):
            raise ValueError(value)
        return value
    if origin is Literal:
        return _require(value, isinstance(value, str | int | None) and value in arguments)
    if origin in (Union, types.UnionType):
        return _first_that_fits(value, arguments)
    if origin is tuple:
        return _convert_tuple(value, arguments)
    if hint in _PLAIN:
        return _PLAIN[hint](value)
    if origin in _CONTAINERS:
        return _CONTAINERS[origin](value, arguments)
    if isinstance(hint, typing.TypeVar) and hint.__bound__ is not None:
        return convert_value(value, hint.__bound__)
    if isinstance(hint, type) and hint not in (Any, object) and not hasattr(hint, "_is_protocol"):
        return _require(value, any(isinstance(layer, hint) for layer in with_wrapped(value)))
    return value


def with_wrapped(value: Any) -> Iterator[Any]:
    """A value, and for compiled and parallel modules what they wrap, from the outside in.

    Args:
        value: any value.

    Yields:
        The value, then what it wraps.

    Example:
        >>> inner = torch.nn.Identity()
        >>> inner in with_wrapped(torch.nn.DataParallel(inner))
        True
    """
    for _ in range(MAX_WRAPPERS):
        yield value
        inner = getattr(value, "_orig_mod", None)
        value = getattr(value, "module", None) if inner is None else inner


def check_value(name: str, value: Any, hint: Any) -> Any:
    """Converts an argument to what its annotation allows, with an error that names it.

    Args:
        name: name of the argument.
        value: its value.
        hint: an annotation, as in `convert_value`.

    Returns:
        The value as a plain Python value.

    Raises:
        ConfigError: the annotation does not allow the value.

    Example:
        >>> check_value("num_classes", -1, NonNegativeInt)
        Traceback (most recent call last):
        vitrail.errors.ConfigError: num_classes=-1 is not a whole number of at least 0.
    """
    try:
        return convert_value(value, hint)
    except ValueError:
        raise ConfigError(describe_misfit(name, value, hint)) from None


def resolve_indices(indices: Iterable[int], count: int, what: str) -> list[int]:
    """Indices from 0, in their order, where negative ones count from the end.

    Args:
        indices: the indices to resolve.
        count: the number of items.
        what: what an item is, for the error message.

    Returns:
        Indices within 0 to count - 1.

    Raises:
        ConfigError: an item does not exist, or these are no indices.

    Example:
        >>> resolve_indices([-1, 0], 4, "layer")
        [3, 0]
    """
    limit = f"there are 0 to {count - 1}"
    if isinstance(indices, str) or not isinstance(indices, Iterable):
        raise ConfigError(f"{what}s {indices!r} are no list of indices, such as [0]: {limit}.")
    resolved = []
    for index in indices:
        try:
            number = _to_int(index)
        except ValueError:
            raise ConfigError(f"{what} {index!r} is no whole number: {limit}.") from None
        if not -count <= number < count:
            raise ConfigError(f"{what} {number} does not exist: {limit}.")
        resolved.append(number % count)
    return resolved


def repeated(names: Iterable[str]) -> list[str]:
    """The names that stand more than once in a list.

    Args:
        names: such as names of classes: ImageNet has two that are called "crane".

    Returns:
        Each once, in their order.

    Example:
        >>> repeated(["crane", "cat", "crane"])
        ['crane']
    """
    return [name for name, count in collections.Counter(names).items() if count > 1]


def describe_annotation(hint: Any) -> str:
    """What an annotation allows, in words for an error message.

    Args:
        hint: an annotation, as in `convert_value`.

    Returns:
        A noun phrase.

    Example:
        >>> describe_annotation(Rate | None)
        'a number of at least 0 and below 1, or None'
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        limits = [f" of {limit}" for limit in arguments[1:] if hasattr(limit, "__contains__")]
        return describe_annotation(arguments[0]) + "".join(limits)
    if origin is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if origin in (Union, types.UnionType):
        return ", or ".join(map(describe_annotation, arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"a tuple with each entry {describe_annotation(arguments[0])}"
    if origin is tuple:
        entries = "; ".join(map(describe_annotation, arguments))
        return f"a tuple of {len(arguments)} entries ({entries})"
    if origin in (list, Sequence, Iterable):
        return f"a list with each entry {describe_annotation(arguments[0])}"
    if origin is Mapping and getattr(arguments[-1], "__module__", "builtins") != "builtins":
        return f"a mapping with each value {describe_annotation(arguments[-1])}"
    nouns = {
        int: "a whole number", float: "a number", bool: "True or False", str: "a string",
        Path: "a path", type(None): "None", Callable: "a function", Mapping: "a mapping",
        dict: "a mapping",
    }  # fmt: skip
    if isinstance(hint, typing.TypeVar) and hint.__bound__ is not None:
        return describe_annotation(hint.__bound__)
    name = getattr(hint, "__name__", str(hint))
    return nouns.get(origin or hint, f"{'an' if name[0] in 'AEIOU' else 'a'} {name}")


def describe_misfit(name: str, value: Any, hint: Any) -> str:
    """What is wrong with a value.

    Args:
        name: name of the argument.
        value: a value that its annotation does not allow.
        hint: the annotation.

    Returns:
        A sentence.

    Example:
        >>> describe_misfit("dim", 0, PositiveInt)
        'dim=0 is not a whole number of at least 1.'
    """
    is_choice = _is_choice(hint, value)
    nearest = suggest(value, typing.get_args(hint)) if is_choice else _path_problem(value)
    if isinstance(value, str) and typing.get_origin(hint) is Callable:
        nearest = " Give the function itself: names are for recipes."
    return f"{name}={describe_value(value)} is not {describe_annotation(hint)}.{nearest}"


def _is_choice(hint: Any, value: Any) -> bool:
    choices = typing.get_args(hint)
    literal = typing.get_origin(hint) is Literal and isinstance(value, str)
    return literal and all(isinstance(choice, str) for choice in choices)


def _require(value: Any, condition: bool) -> Any:
    if not condition:
        raise ValueError(value)
    return value


def _path_problem(value: Any) -> str:
    """Why no system has such a path; "" where it may."""
    values = value if isinstance(value, list | tuple) else [value]
    texts = [str(v) for v in values if isinstance(v, str | Path)]
    too_long = " It is too long for the name of a file." * any(map(_is_too_long, texts))
    return " It has a zero byte." if "\0" in "".join(texts) else too_long


def _is_too_long(text: str) -> bool:
    """Whether no file has such a name, of 255 bytes; after a ? come options of a source."""
    parts = re.split(r"[/\\]", text.partition("?")[0])
    return any(len(part.encode(errors="surrogatepass")) > 255 for part in parts)


def _first_that_fits(value: Any, hints: tuple[Any, ...]) -> Any:
    _require(value, Path not in hints or not _path_problem(value))
    for hint in hints:
        try:
            return convert_value(value, hint)
        except ValueError:
            continue
    raise ValueError(value)


def _convert_tuple(value: Any, hints: tuple[Any, ...]) -> tuple[Any, ...]:
    _require(value, isinstance(value, list | tuple))
    if hints[-1] is Ellipsis:
        return tuple(convert_value(entry, hints[0]) for entry in value)
    _require(value, len(value) == len(hints))
    return tuple(convert_value(entry, hint) for entry, hint in zip(value, hints, strict=True))


def _check_sequence(value: Any, hints: tuple[Any, ...]) -> Any:
    listed = isinstance(value, Sequence) or hasattr(value, "tolist") or hasattr(value, "append")
    return _check_iterable(_require(value, listed), hints)  # a dataset is no list


def _check_iterable(value: Any, hints: tuple[Any, ...]) -> Any:
    """A string is one text and no list of letters; an array is a list of numbers, or a stack."""
    listed = isinstance(value, Iterable) or hasattr(value, "__getitem__")
    _require(value, listed and not isinstance(value, str | bytes | Mapping))
    stacked = isinstance(hints[0], type) and isinstance(value, hints[0])
    if hasattr(value, "tolist") and not stacked:
        value = _require(value, value.ndim == 1).tolist()
    if isinstance(value, list | tuple) and not _are_whole(value, hints[0]):
        for entry in value:
            convert_value(entry, hints[0])
    return value


def _are_whole(values: Sequence[Any], hint: Any) -> bool:
    """Whether a class says it all, which is fast for a million of files."""
    is_whole = isinstance(hint, type) and hint not in (float, str)  # but NaN and zero bytes
    return is_whole and all(issubclass(k, hint) and k is not bool for k in set(map(type, values)))


def _check_mapping(value: Any, hints: tuple[Any, ...]) -> Any:
    for key, entry in _require(value, isinstance(value, Mapping)).items():
        convert_value(key, hints[0])
        convert_value(entry, hints[1])
    return value


_CONTAINERS: dict[Any, Callable[[Any, tuple[Any, ...]], Any]] = {
    list: _check_sequence,
    Sequence: _check_sequence,
    Iterable: _check_iterable,
    dict: _check_mapping,
    Mapping: _check_mapping,
    Callable: lambda value, _hints: _require(value, callable(value)),
}


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or type(value).__name__ == "bool_"  # NumPy's is no bool


def _to_int(value: Any) -> int:
    _require(value, not _is_bool(value))
    try:
        return operator.index(value)
    except (TypeError, RuntimeError):  # arrays and classes have __index__ too
        raise ValueError(value) from None


def _to_float(value: Any) -> float:
    _require(value, isinstance(value, numbers.Real) and not _is_bool(value))
    try:
        number = float(value)
    except OverflowError:  # an integer of 400 digits
        raise ValueError(value) from None
    _require(value, not math.isnan(number))
    return number


def _to_bool(value: Any) -> bool:
    return bool(_require(value, _is_bool(value)))


def _to_str(value: Any) -> str:
    return str(_require(value, isinstance(value, str) and "\0" not in value))


def _to_path(value: Any) -> Path:
    return Path(_require(value, isinstance(value, str | os.PathLike) and "\0" not in str(value)))


_PLAIN: dict[Any, Callable[[Any], Any]] = {
    int: _to_int,
    float: _to_float,
    bool: _to_bool,
    str: _to_str,
    Path: _to_path,
    type(None): lambda value: _require(value, value is None),
}
