"""Wrong and odd values, and whether an annotation allows them."""

import collections.abc
import inspect
import math
import numbers
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from tests.hunt.foreign import foreign
from vitrail.values import Range


class Case(NamedTuple):
    """A value in the place of a valid one.

    Args:
        label: what it is, in the names of tests and in reports.
        value: the value.
        allowed: False where it must be refused; None where the annotation cannot say.
    """

    label: str
    value: Any
    allowed: bool | None


POOL: dict[str, Any] = {
    "None": None,
    "True": True,
    "0": 0,
    "-1": -1,
    "1.5": 1.5,
    "nan": math.nan,
    "inf": math.inf,
    "10**12": 10**12,
    "10**30": 10**30,
    "''": "",
    "中文": "中文",
    "zero byte": "a\0b",
    "[]": [],
    "{}": {},
    "[[]]": [[]],
    "(1, 2, 3, 4)": (1, 2, 3, 4),
    "{1: 2}": {1: 2},
    "bytes": b"cat",
    "object": object(),
    "class": int,
    "function": lambda: None,
    "NumPy array": np.zeros((3, 4)),
    "Pillow image": Image.new("L", (3, 4)),
    "empty tensor": torch.zeros(0),
    "module": nn.Linear(2, 2),
}


def cases(hint: Any, valid: Any) -> Iterator[Case]:
    """The values to try in the place of a valid one, by the annotation of its parameter."""
    for label, value in {**POOL, **foreign(), **_near(hint, valid)}.items():
        # A function of the user's raises the user's own errors.
        if not (
            callable(value) and collections.abc.Callable in map(typing.get_origin, _parts(hint))
        ):
            yield Case(label, value, allows(hint, value))


def _near(hint: Any, valid: Any) -> dict[str, Any]:
    """Values that are nearly valid."""
    near: dict[str, Any] = {}
    for choice in _choices(hint):
        near[f"misspelt {choice}"] = f"{choice}x"
        near[f"list of {choice}"] = [choice]
    for limit in _limits(hint):
        near[f"below {limit.low:g}"] = limit.low - 1
        if limit.high < math.inf:
            near[f"above {limit.high:g}"] = limit.high + 1
    if isinstance(valid, Tensor):
        near |= {
            "one axis more": valid[None], "one axis less": valid[0],
            "float64": valid.double(), "int64": valid.long(), "bool": valid.bool(),
            "complex": valid.to(torch.complex64), "meta": valid.to("meta"),
            "as NumPy": valid.numpy(), "as list": valid.tolist(), "no batch": valid[:0],
            "all NaN": torch.full_like(valid, math.nan) if valid.is_floating_point() else valid,
        }  # fmt: skip
    if isinstance(valid, Path):
        near |= {
            "as str": str(valid), "missing": valid.parent / "没有" / "x.bin",
            "parent": valid.parent, "itself below": valid / "x", "very long": "x" * 5000,
        }  # fmt: skip
    if type(valid) in (list, tuple) and valid:
        near |= {
            "twice": type(valid)([*valid, *valid]), "first": valid[0], "as generator":
            (entry for entry in valid), "as set": repr(valid), "with None": [*valid, None],
            "with nested": [list(valid)],
        }  # fmt: skip
    if isinstance(valid, str):
        near |= {"upper": valid.upper() + "?", "in list": [valid], "spaces": f" {valid} "}
    if isinstance(valid, int) and not isinstance(valid, bool):
        near |= {"NumPy int": np.int64(valid), "as str": str(valid), "as float": float(valid)}
    if isinstance(valid, float):
        near |= {"NumPy float": np.float32(valid), "as str": str(valid)}
    if isinstance(valid, nn.Module):
        near |= {"its class": type(valid), "its state dict": valid.state_dict()}
    return near


def allows(hint: Any, value: Any) -> bool | None:
    """Whether an annotation allows a value; None if that cannot be told from it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in (Any, object, inspect.Parameter.empty) or isinstance(hint, typing.TypeVar):
        return None
    if hint is None or hint is type(None):
        return value is None
    if origin is Annotated:
        inner = allows(arguments[0], value)
        return inner and all(value in limit for limit in arguments[1:] if isinstance(limit, Range))
    if origin is Literal:
        return isinstance(value, str | int | None) and value in arguments
    if origin in (Union, types.UnionType):
        verdicts = [allows(argument, value) for argument in arguments]
        return True if True in verdicts else None if None in verdicts else False
    if hint is int:
        return isinstance(value, int | np.integer) and not isinstance(value, bool)
    if hint is float:
        number = isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)
        return number and not math.isnan(value)
    if hint is Path:
        return isinstance(value, str | Path)
    if origin is tuple:
        return _allows_tuple(arguments, value)
    if origin in (list, collections.abc.Sequence, collections.abc.Iterable):
        return _allows_sequence(arguments, value)
    if origin in (dict, collections.abc.Mapping):
        return None if isinstance(value, collections.abc.Mapping) else False
    if origin is collections.abc.Callable:
        return None if callable(value) else False
    if isinstance(hint, type) and not getattr(hint, "_is_protocol", False):
        return (
            isinstance(value, hint)
            if hint in (bool, str, bytes)
            else (None if isinstance(value, hint) else False)
        )
    return None


def _allows_tuple(hints: tuple[Any, ...], value: Any) -> bool | None:
    if not isinstance(value, list | tuple):
        return False
    if hints[-1] is Ellipsis:
        verdicts = [allows(hints[0], entry) for entry in value] or [None]
    elif len(hints) != len(value):
        return False
    else:
        verdicts = [allows(hint, entry) for hint, entry in zip(hints, value, strict=True)]
    return False if False in verdicts else None if None in verdicts else True


def _allows_sequence(hints: tuple[Any, ...], value: Any) -> bool | None:
    if isinstance(value, str | bytes) or not isinstance(value, collections.abc.Iterable):
        return False
    if isinstance(value, list | tuple):
        return False if False in [allows(hints[0], entry) for entry in value] else None
    return None


def _choices(hint: Any) -> Iterator[str]:
    for part in _parts(hint):
        if typing.get_origin(part) is Literal:
            yield from (a for a in typing.get_args(part) if isinstance(a, str))


def _limits(hint: Any) -> Iterator[Range]:
    for part in _parts(hint):
        if typing.get_origin(part) is Annotated:
            yield from (m for m in typing.get_args(part) if isinstance(m, Range))


def _parts(hint: Any) -> list[Any]:
    union = typing.get_origin(hint) in (Union, types.UnionType)
    return list(typing.get_args(hint)) if union else [hint]
