"""Assertions of shapes, which can be switched on while a model trains."""

import fnmatch
import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from vitrail.arguments import checked
from vitrail.contexts import reusable
from vitrail.errors import ConfigError
from vitrail.hub.fitting import unwrapped
from vitrail.lens.shapes import sizes_of
from vitrail.models.base import Backbone
from vitrail.models.features import Features
from vitrail.models.tiers import SequenceBackbone

SHAPE = re.compile(r"\s*((\w+|\.\.\.)\s+)*(\w+|\.\.\.)\s*")
ARROW = "->"


def usual_shapes(model: Backbone) -> dict[str, str]:
    """What the modules of a model do to shapes, by its contract.

    Args:
        model: the model.

    Returns:
        Shapes in and out by pattern of the path, as `assert_shapes` takes them.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> usual_shapes(model)["head"]
        'B 8 -> B 2'
    """
    expected = {"head": f"B {model.pooled_dim} -> B {model.num_classes or model.pooled_dim}"}
    if isinstance(model, SequenceBackbone) and isinstance(model.dim, int):
        tokens = f"B N {model.dim}"
        kinds = ("blocks.*", "blocks.*.mixer", "blocks.*.mlp")
        expected |= dict.fromkeys(kinds, f"{tokens} -> {tokens}")
    return expected


@checked
@reusable
def assert_shapes(model: nn.Module, expected: Mapping[str, str] | None = None) -> Iterator[None]:
    """Within the context, a module whose output has another shape raises an error at once.

    Args:
        model: the model, in training or not.
        expected: shapes by path of the modules, in which * stands for a number, such as
            {"blocks.*.mixer": "B N 192 -> B N 192"}. Before the arrow is the shape of the first
            argument, after it that of the output; "..." stands for any axes at the start. A number
            is a size; a name is any size, the same wherever it occurs in one call. `Features` count
            as tokens (B, P + N, D). None: the contract of the model: blocks, mixers and MLPs keep
            the shape of their tokens, the head gives a logit per class.

    Returns:
        A context manager.

    Raises:
        ConfigError: a pattern is of no module, or no shape; within the context, a shape is not the
            expected one.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> with assert_shapes(model, {"blocks.*": "B N 8 -> B N 9"}):
        ...     model(torch.zeros(2, 3, 8, 8))
        Traceback (most recent call last):
        vitrail.errors.ConfigError: blocks.0: (2, 5, 8) -> (2, 5, 8) is not B N 8 -> B N 9...
    """
    handles = watch_shapes(model, expected)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def watch_shapes(model: nn.Module, expected: Mapping[str, str] | None = None) -> list[Any]:
    """Switches the assertions on until their hooks are removed.

    Args:
        model: as in `assert_shapes`.
        expected: as in `assert_shapes`.

    Returns:
        Handles of the hooks, each with a method `remove`.

    Raises:
        ConfigError: a pattern is of no module, or no shape.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> len(watch_shapes(model))
        4
    """
    inner = unwrapped(model)
    if expected is None:
        expected = usual_shapes(inner) if isinstance(inner, Backbone) else {}
        optional = True
    else:
        optional = False
    modules = dict(inner.named_modules())
    handles = []
    for pattern, shapes in expected.items():
        before, arrow, after = shapes.partition(ARROW)
        if not arrow or not SHAPE.fullmatch(before) or not SHAPE.fullmatch(after):
            raise ConfigError(f"{pattern}={shapes!r} is no shapes such as 'B N 192 -> B N 192'.")
        paths = [path for path in modules if _matches(path, pattern)]
        if not paths and not optional:
            raise ConfigError(f"no module is called {pattern!r}: named_modules() lists all names.")
        for path in paths:
            check = _Check(path, before.split(), after.split())
            handles.append(modules[path].register_forward_hook(check, with_kwargs=False))
    return handles


class _Check:
    """A hook that compares the shapes of a call with the expected ones."""

    def __init__(self, path: str, before: list[str], after: list[str]) -> None:
        self.path, self.before, self.after = path, before, after

    def __call__(self, _module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        first = next((x for x in inputs if isinstance(x, Tensor | Features)), None)
        sizes, result = sizes_of(first), sizes_of(output)
        names: dict[str, int] = {}
        if _fits(sizes, self.before, names) and _fits(result, self.after, names):
            return
        text = f"{' '.join(self.before)} {ARROW} {' '.join(self.after)}"
        meaning = ", ".join(f"{name} is {size}" for name, size in names.items())
        raise ConfigError(
            f"{self.path}: {sizes} -> {result} is not {text}"
            f"{f', where {meaning}' if meaning else ''}."
        )


def _fits(sizes: tuple[int, ...], shape: list[str], names: dict[str, int]) -> bool:
    """Whether sizes are of a shape; names take the sizes that they have first."""
    if shape[0] == "...":
        shape = shape[1:]
        sizes = sizes[max(len(sizes) - len(shape), 0) :]
    if len(sizes) != len(shape):
        return False
    for size, name in zip(sizes, shape, strict=True):
        if (int(name) if name.isdecimal() else names.setdefault(name, size)) != size:
            return False
    return True


def _matches(path: str, pattern: str) -> bool:
    """Whether a path is of a pattern, in which * does not reach beyond a dot."""
    parts, wild = path.split("."), pattern.split(".")
    return len(parts) == len(wild) and all(map(fnmatch.fnmatchcase, parts, wild))
