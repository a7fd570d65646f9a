"""Models by name: a class such as "ViT", or a variant such as "vit_base_patch16_224"."""

import difflib
import fnmatch
import functools
import importlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar, cast

import torch

from vitrail.arguments import checked
from vitrail.errors import ConfigError, VitrailError, suggest
from vitrail.models.base import Backbone, Variant
from vitrail.models.spelling import is_convolutional, similar_names
from vitrail.registry import Registry, snapshot

Model = TypeVar("Model", bound=type[Backbone])

# The class of each model, and the file in this folder that has it. The file's `VARIANTS` are
# variants of that class. A new model is a new line.
MODELS = {
    "ATSViT": "ats_vit",
    "BEiT": "beit",
    "CCT": "cct",
    "CLIPViT": "clip_vit",
    "CaiT": "cait",
    "CrossFormer": "cross_former",
    "CrossViT": "cross_vit",
    "CvT": "cvt",
    "DeepViT": "deepvit",
    "DeiT": "deit",
    "EfficientViT": "efficient_vit",
    "LeViT": "levit",
    "MaxViT": "max_vit",
    "MobileViT": "mobile_vit",
    "NaViT": "navit",
    "NesT": "nest",
    "OfficialVisionMamba": "vim_official",
    "PVT": "pvt",
    "PVTv2": "pvt_v2",
    "ParallelViT": "parallel_vit",
    "PatchMergerViT": "patch_merger_vit",
    "PiT": "pit",
    "RegionViT": "region_vit",
    "ScalableViT": "scalable_vit",
    "SepViT": "sep_vit",
    "SigLIPViT": "siglip_vit",
    "SimpleViT": "simple_vit",
    "SmallViT": "small_vit",
    "Swin": "swin",
    "T2TViT": "t2t",
    "Twins": "twins",
    "ViT": "vit",
    "ViViT": "vivit",
    "VisionMamba": "vim",
    "XCiT": "xcit",
}


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
    raise ConfigError(f"no model {name!r}.{suggestion(name)}")


def suggestion(name: str) -> str:
    """What an unknown name may mean.

    Args:
        name: a name that is no variant.

    Returns:
        A sentence with a leading space: the variants that fit, or the most similar name.

    Example:
        >>> suggestion("swin_tiny")
        ' It may mean swin_tiny_patch4_window7_224.'
    """
    if is_convolutional(name):
        return " It is a convolutional network: Vitrail has vision transformers and Vision Mamba."
    is_hub_id = re.match(r"[\w.-]+/[A-Za-z]{2}", name)  # "ViT-B/16" is none
    hub = f" A Hub id is read by vitrail.load({name!r})." if is_hub_id else ""
    classes = [c for c in MODEL_REGISTRY.names() if c != name and c.lower() == name.lower()]
    longer = sorted(fnmatch.filter(variants(), f"{name.lower()}_*"), key=len)
    fits = [*classes, *(longer or similar_names(name.partition(".")[0], variants()))]
    if len(fits) > 4:
        rest = f'vitrail.list_models("{name.lower()}_*")' if longer else "vitrail.list_models()"
        return (
            f"{hub} It may mean {', '.join(fits[:3])} or {len(fits) - 3} others: {rest} names them."
        )
    if fits:
        return f"{hub} It may mean {' or '.join(fits)}."
    names = [*variants(), *MODEL_REGISTRY.names()]
    families = {other: other.partition("_")[0].lower() for other in names}
    family, _, size = name.lower().partition("_")
    near = difflib.get_close_matches(family, families.values(), n=3)
    for other in difflib.get_close_matches(family, {*families.values()}, cutoff=0.8):  # vitt: vit
        if size and other != family and fnmatch.filter(variants(), f"{other}_{size}_*"):
            return suggestion(f"{other}_{size}")
    nearest = hub or suggest(name, [other for other in names if families[other] in near])
    return f"{nearest} vitrail.list_models() names all {len(variants())} variants."
