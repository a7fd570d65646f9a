"""The names of Vitrail's models, which are known before torch is imported, which takes seconds."""

import functools
import json
from pathlib import Path

from vitrail.errors import ConfigError
from vitrail.models.spelling import suggest_model
from vitrail.registry import REGISTRIES, entry_points

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

# Written by `make docs`, by the names of all variants.
MULTIPLY_ADDS = Path(__file__).with_name("multiply_adds.json")


@functools.cache
def builtin_names() -> tuple[str, ...]:
    """The names of all variants of Vitrail's.

    Returns:
        Names.

    Example:
        >>> "vit_tiny_patch16_224" in builtin_names()
        True
    """
    return tuple(json.loads(MULTIPLY_ADDS.read_text("utf-8")))


def check_name(name: str) -> None:
    """Checks a model's name, as far as that takes no torch.

    Args:
        name: name of a class or a variant. Where packages or plug-ins offer models, any may exist.

    Raises:
        ConfigError: there is no such model; the message names the nearest.

    Example:
        >>> check_name("vit_tiny_patch16_224")
    """
    registry = REGISTRIES.get("model")
    if entry_points("vitrail.models") or (registry is not None and registry.own):
        return
    if name not in MODELS and name not in builtin_names():
        raise ConfigError(f"no model {name!r}.{suggest_model(name, builtin_names(), MODELS)}")
