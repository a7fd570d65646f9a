"""Models by name: a class such as "ViT", or a variant such as "vit_base_patch16_224"."""

import fnmatch
import functools
import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar, cast

import torch

from vitrail.arguments import checked
from vitrail.errors import ConfigError, VitrailError, suggest
from vitrail.models.base import Backbone, Variant
from vitrail.models.builtin_names import MODELS
from vitrail.models.spelling import suggest_model
from vitrail.registry import Registry, snapshot

Model = TypeVar("Model", bound=type[Backbone])


class RegisteredVariant(NamedTuple):
    """A variant and the class that it is a variant of.

    Args:
        model: the class.
        variant: its keywords and its published number of parameters.

    Example:
        >>> variants()["vit_tiny_patch16_224"].model.__name__
        'ViT'
    """

    model: type[Backbone]
    variant: Variant


MODEL_REGISTRY: Registry[type[Backbone]] = Registry(
    "model",
    {name: f"vitrail.models.{file}:{name}" for name, file in MODELS.items()},
    base=Backbone,
    decorator="vitrail.models.register_model",
)
_OWN_VARIANTS: dict[str, dict[str, Variant]] = {}  # by the name of a registered class


@checked
def register_model(model: Model) -> Model:
    """Adds a model class of your own, under its own name, so that names and saved models find it.

    Its attribute `variants` may hold keywords of the constructor by the name of each variant:
    `create_model` then takes these names, and `list_models` lists them.

    Args:
        model: the class, a subclass of `Backbone`.

    Returns:
        The class, so that it is a decorator.

    Raises:
        ConfigError: another model or variant has the name, the class is no model, or a variant
            cannot be built.

    Example:
        >>> @register_model
        ... class Mine(vitrail.SimpleViT):
        ...     variants = {"mine_small": {"image_size": 32, "patch_size": 8, "num_classes": 5,
        ...                                "dim": 16, "depth": 1, "heads": 2, "mlp_dim": 32}}
        >>> vitrail.create_model("mine_small", num_classes=3).num_classes
        3
    """
    restore = snapshot()
    name = getattr(model, "__name__", "")
    MODEL_REGISTRY.add(name, model)
    try:
        _OWN_VARIANTS[name] = _count_parameters(model, vars(model).get("variants", {}))
    except VitrailError:
        restore()
        raise
    return model


def _count_parameters(
    cls: type[Backbone], keywords: Mapping[str, Mapping[str, Any]]
) -> dict[str, Variant]:
    """Variants of a class by name; built on the meta device, so that a wrong keyword is seen."""
    others = {name: entry.model for name, entry in variants().items() if entry.model is not cls}
    counted = {}
    for name, values in keywords.items():
        if name in others or name in MODEL_REGISTRY:
            owner = others[name].__name__ if name in others else "a class"
            raise ConfigError(f"there is a model {name!r} already, {owner}: choose another name.")
        with torch.device("meta"):
            parameters = sum(p.numel() for p in cls(**dict(values)).parameters())
        counted[name] = Variant(values, parameters)
    return counted


def model_classes() -> dict[str, type[Backbone]]:
    """Every model class: Vitrail's, those of installed packages, and those that are registered.

    Returns:
        Classes by name.

    Example:
        >>> model_classes()["ViT"] is vitrail.ViT
        True
    """
    builtin = {name: get_model_class(name) for name in MODELS}
    return dict(sorted((builtin | MODEL_REGISTRY.others()).items()))


@functools.cache
def _builtin_variants() -> dict[str, RegisteredVariant]:
    return {
        name: RegisteredVariant(MODEL_REGISTRY.get(model), variant)
        for model, file in MODELS.items()
        for name, variant in importlib.import_module(f"vitrail.models.{file}").VARIANTS.items()
    }


def variants() -> dict[str, RegisteredVariant]:
    """Every variant.

    Returns:
        Variants with their classes, by the variant's name.

    Example:
        >>> variants()["deit_tiny_distilled_patch16_224"].variant.keywords["dim"]
        192
    """
    own = {
        name: RegisteredVariant(model, variant)
        for model in MODEL_REGISTRY.others().values()
        for name, variant in _OWN_VARIANTS.get(model.__name__, {}).items()
    }
    return _builtin_variants() | own


def list_variants(pattern: str = "*") -> list[str]:
    """Names of variants. `vitrail.list_models` also knows which have published weights.

    Args:
        pattern: a shell pattern that the names match: `*` is any text, `?` any letter.

    Returns:
        Names, sorted. Empty if none match.

    Example:
        >>> list_variants("vit_*_patch32_224")
        ['vit_base_patch32_224']
    """
    return sorted(fnmatch.filter(variants(), pattern))


def get_model_class(name: str) -> type[Backbone]:
    """The model class of a name.

    Args:
        name: the class's name, such as "ViT".

    Returns:
        The class.

    Raises:
        ConfigError: there is no such class; the message names the nearest.

    Example:
        >>> get_model_class("ViT") is vitrail.ViT
        True
    """
    if name not in MODEL_REGISTRY:
        raise ConfigError(f"no model class {name!r}.{suggest(name, MODEL_REGISTRY.names())}")
    return MODEL_REGISTRY.get(name)


def is_registered(model: type[Backbone]) -> bool:
    """Whether a saved model of a class is found again by its name.

    Args:
        model: a class.

    Returns:
        Whether it, or an earlier run of its definition, is the class of its name.

    Example:
        >>> class Mine(vitrail.ViT): ...
        >>> is_registered(vitrail.ViT), is_registered(Mine)
        (True, False)
    """
    return model.__name__ in MODEL_REGISTRY and MODEL_REGISTRY.is_same(model.__name__, model)


def new_model(name: str, **keywords: object) -> Backbone:
    """Builds a model with freshly initialized weights, in training mode.

    Args:
        name: a variant, one of `list_variants()`, or a model class.
        **keywords: keywords of the constructor, which replace those of the variant.

    Returns:
        The model.

    Raises:
        ConfigError: the name or a keyword is unknown, and the message names the nearest; or a value
            is wrong.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> new_model("vit_tiny_patch16_224", depth=1, num_classes=10).num_classes
        10
    """
    if name in MODEL_REGISTRY:
        return get_model_class(name)(**cast("dict[str, Any]", keywords))
    if name in variants():
        model, variant = variants()[name]
        return model(**cast("dict[str, Any]", {**variant.keywords, **keywords}))
    raise ConfigError(
        f"no model {name!r}.{suggest_model(name, variants(), MODEL_REGISTRY.names())}"
    )
