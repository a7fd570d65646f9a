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
SMALL: dict[str, dict[str, Any]] = {
    "Swin": {
        "patch_size": 2,
        "dim": (16, 32, 64),
        "depth": (2, 1, 2),
        "heads": (2, 4, 4),
        "window": 4,
    },
}

# A second image size by the number of its axes, and one that patches do not divide.
SECOND = {1: (48,), 2: (48, 24), 3: (2, 24, 16)}
ODD = {1: (30,), 2: (30, 32), 3: (4, 30, 16)}

# The same by class, where those do not serve, with the reason why the latter is refused; an empty
# tuple where every size works.
RECTANGLES: dict[str, tuple[int, ...]] = {}
REFUSED: dict[str, tuple[tuple[int, ...], str]] = {
    "Swin": ((31, 32), "31 x 32 pixels does not divide into patches"),
}

# Keywords that change what a model computes, each of which must keep the contract too.
MORE: dict[str, list[dict[str, Any]]] = {
    "ViT": [
        {"pool": "mean", "position": "rope", "qk_norm": True},
        {"pool": "cls+mean", "position": "sincos", "registers": 3, "layer_scale": 0.5},
        {"registers": 2, "position": "rope", "channels": 1, "patch_size": (4, 8)},
        {"image_size": (64,), "channels": 2},
        {"image_size": (64,), "position": "rope"},
        {"image_size": (4, 16, 16), "patch_size": (2, 8, 8)},
        {"image_size": (16, 16, 16), "position": "rope", "pool": "mean", "channels": 1},
    ],
    "SimpleViT": [{"image_size": (64,)}, {"image_size": (4, 16, 16), "patch_size": (2, 8, 8)}],
    "VisionMamba": [
        {"pool": "cls-head", "position": "learned+rope+residual", "mixer": "v2+sum"},
        {"pool": "cls-both", "position": "rope", "mixer": "v1", "layer_scale": 0.5},
        {"pool": "mean", "mixer": "forward+paired+alpha", "depth": 6, "position": "none"},
        {"pool": "cls-random", "mixer": "v1+paired+shared", "depth": 6, "norm": "layer"},
        {"pool": "last", "mixer": "forward+bias", "channels": 1, "ssm": (5, 3, 3, 7)},
        {"mixer": "v2+gate+paired+doubled", "depth": 6, "stride": 4, "position": "learned+rope"},
    ],
    "DeiT": [{"pool": "cls", "position": "learned+antialias"}],
    "NaViT": [{"token_dropout": (0.1, 0.5), "channels": 1, "patch_size": (4, 8)}],
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
