"""Models by name: a class such as "ViT", or a variant such as "vit_base_patch16_224"."""

import fnmatch
import functools
import importlib
from typing import Any, NamedTuple, cast

from vitrail.errors import ConfigError, suggest
from vitrail.models.base import Backbone, Variant

# The class of each model, and the file in this folder that has it. The file's `VARIANTS` are
# variants of that class. A new model is a new line.
MODELS = {
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


@functools.cache
def model_classes() -> dict[str, type[Backbone]]:
    """Every model class.

    Returns:
        Classes by name.

    Example:
        >>> model_classes()["ViT"] is vitrail.ViT
        True
    """
    return {name: get_model_class(name) for name in MODELS}


@functools.cache
def variants() -> dict[str, RegisteredVariant]:
    """Every variant.

    Returns:
        Variants with their classes, by the variant's name.

    Example:
        >>> variants()["deit_tiny_distilled_patch16_224"].variant.keywords["dim"]
        192
    """
    return {
        name: RegisteredVariant(model, variant)
        for model in model_classes().values()
        for name, variant in importlib.import_module(model.__module__).VARIANTS.items()
    }


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
    if name not in MODELS:
        raise ConfigError(f"no model class {name!r}.{suggest(name, MODELS)}")
    return getattr(importlib.import_module(f"vitrail.models.{MODELS[name]}"), name)


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
    if name in MODELS:
        return get_model_class(name)(**cast("dict[str, Any]", keywords))
    if name in variants():
        model, variant = variants()[name]
        return model(**{**variant.keywords, **keywords})
    raise ConfigError(f"no model {name!r}.{suggestion(name)}")


def suggestion(name: str) -> str:
    """What an unknown name may mean.

    Args:
        name: a name that is no variant.

    Returns:
        A sentence with a leading space: the variants that begin so, or the most similar name.

    Example:
        >>> suggestion("swin_tiny")
        ' It may mean swin_tiny_patch4_window7_224.'
    """
    longer = sorted(fnmatch.filter(variants(), f"{name}_*"), key=len)
    if len(longer) > 4:
        return (
            f" It may mean {', '.join(longer[:3])} or {len(longer) - 3} others: "
            f'vitrail.list_models("{name}_*") names them.'
        )
    if longer:
        return f" It may mean {' or '.join(longer)}."
    nearest = suggest(name, [*variants(), *MODELS])
    return f"{nearest} vitrail.list_models() names all {len(variants())} variants."
