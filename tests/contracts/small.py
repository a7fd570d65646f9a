"""Small instances of every model, made from its variants by shrinking the keywords it has."""

import inspect
from typing import Any

from vitrail.models.base import Backbone
from vitrail.models.registry import get_model_class, model_classes, variants

SHRINK = {
    "image_size": 32,
    "patch_size": 8,
    "num_classes": 5,
    "dim": 32,
    "depth": 3,
    "heads": 2,
    "mlp_dim": 48,
}

# What a class needs to be small, where the above is not it. Keep them fast: they run 20 tests each.
SMALL: dict[str, dict[str, Any]] = {}

# A second image size, where 48 x 24 pixels is not one; and one that is refused, with the reason; an
# empty tuple where every size works.
RECTANGLES: dict[str, tuple[int, ...]] = {}
REFUSED: dict[str, tuple[tuple[int, ...], str]] = {}

# Keywords that change what a model computes, each of which must keep the contract too.
MORE: dict[str, list[dict[str, Any]]] = {
    "ViT": [
        {"pool": "mean", "position": "rope", "qk_norm": True},
        {"pool": "cls+mean", "position": "sincos", "registers": 3, "layer_scale": 0.5},
        {"registers": 2, "position": "rope", "channels": 1, "patch_size": (4, 8)},
    ],
    "VisionMamba": [
        {"pool": "cls-head", "position": "learned+rope+residual", "mixer": "v2+sum"},
        {"pool": "cls-both", "position": "rope", "mixer": "v1", "layer_scale": 0.5},
        {"pool": "mean", "mixer": "forward+paired+alpha", "depth": 6, "position": "none"},
        {"pool": "cls-random", "mixer": "v1+paired+shared", "depth": 6, "norm": "layer"},
        {"pool": "last", "mixer": "forward+bias", "channels": 1, "ssm": (5, 3, 3, 7)},
        {"mixer": "v2+gate+paired+doubled", "depth": 6, "stride": 4, "position": "learned+rope"},
    ],
    "DeiT": [{"pool": "cls", "position": "learned+antialias"}],
}

CASES = [(name, more) for name in model_classes() for more in [{}, *MORE.get(name, [])]]
IDS = ["-".join([name, *map(str, more.values())]) for name, more in CASES]


def small(name: str, **more: Any) -> Backbone:
    """A small model of class `name`, in eval mode: its first variant, shrunk."""
    model = get_model_class(name)
    variant = next(entry.variant for entry in variants().values() if entry.model is model)
    shrunk = {k: v for k, v in SHRINK.items() if k in inspect.signature(model.__init__).parameters}
    shrunk |= SMALL.get(name, {})
    return model(**{**variant.keywords, **shrunk, **more}).eval()
