"""Name maps of other libraries' architectures, one file a family.

A file holds `TIMM`, `TRANSFORMERS` or both, and `METHOD` where a method's own weights come with
the backbone's; a new file is found by itself.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from vitrail.errors import LoadError, suggest
from vitrail.hub.rename import Tensors
from vitrail.methods.base import Method
from vitrail.models.base import Backbone
from vitrail.models.registry import variants

Rules = Sequence[tuple[str, str]]  # (pattern of a whole name, replacement)


def as_they_are(tensors: Tensors, _model: Backbone) -> Tensors:
    """What most families need after renaming: nothing."""
    return tensors


class Timm(NamedTuple):
    """How timm names a family's weights and keywords.

    Its architectures are the variants of `model`, under the same names. `arguments` maps timm's
    constructor arguments, beside those that all have, to keywords here: a name, or a function of
    the value that gives keywords. An argument that it does not know is refused.
    """

    model: type[Backbone]
    rules: Rules
    arguments: Mapping[str, str | Callable[[Any], dict[str, Any]]] = {}
    ignored: Sequence[str] = ()  # patterns of names left out on purpose
    finish: Callable[[Tensors, Backbone], Tensors] = as_they_are  # what renaming cannot do


class Transformers(NamedTuple):
    """How transformers names the weights and settings of a `model_type`."""

    kind: str
    model: type[Backbone]
    rules: Rules
    keywords: Callable[[dict[str, Any]], dict[str, Any]]  # config.json → ours, num_classes aside
    expected: Mapping[str, Any] = {}  # settings that change the output, and the value supported
    ignored: Sequence[str] = ()
    finish: Callable[[Tensors, Backbone], Tensors] = as_they_are
    stem: str = ""  # our weight that reads the image, turned round where theirs is given BGR


class Whole(NamedTuple):
    """How transformers names what a method has beside its backbone, by the same `model_type`."""

    kind: str
    convert: Callable[[dict[str, Any], Tensors, Backbone], Method]  # config, tensors, the backbone


@functools.cache
def _modules() -> list[Any]:
    return [importlib.import_module(f"{__name__}.{i.name}") for i in pkgutil.iter_modules(__path__)]


@functools.cache
def _known() -> tuple[dict[type[Backbone], Timm], dict[str, Transformers]]:
    timm = [m.TIMM for m in _modules() if hasattr(m, "TIMM")]
    transformers = [m.TRANSFORMERS for m in _modules() if hasattr(m, "TRANSFORMERS")]
    return {t.model: t for t in timm}, {t.kind: t for t in transformers}


def of_timm(architecture: str) -> tuple[Timm, Mapping[str, Any]]:
    """The family of a timm architecture, such as "swin_tiny_patch4_window7_224", and its keywords.

    Raises `LoadError` for one that is not known here, with the nearest that is.
    """
    families, _ = _known()
    known = {name: entry for name, entry in variants().items() if entry.model in families}
    if architecture not in known:
        raise LoadError(f"timm's {architecture!r} is not supported.{suggest(architecture, known)}")
    model, variant = known[architecture]
    return families[model], variant.keywords


def timm_models() -> set[type[Backbone]]:
    """The models whose weights timm has."""
    return set(_known()[0])


def of_transformers() -> dict[str, Transformers]:
    """Families by transformers' model_type."""
    return _known()[1]


def of_methods() -> dict[str, Whole]:
    """Methods by transformers' model_type."""
    return {m.METHOD.kind: m.METHOD for m in _modules() if hasattr(m, "METHOD")}
