"""Small instances of every model, made from its variants by shrinking the keywords it has."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitrail.contract import model_case
from vitrail.contract.model_case import ModelCase, awake, shrunk_keywords
from vitrail.models.base import Backbone
from vitrail.models.registry import get_model_class, model_classes, variants

# What a class needs to be small, where the above does not serve. Keep them fast: they run 30 tests.
SMALL: dict[str, dict[str, Any]] = {
    "MobileViT": {
        "image_size": 64,
        "patch_size": 2,
        "stem_dim": 8,
        "dim": (8, 8, 16, 16, 24),
        "token_dim": (32, 16, 16),
        "out_dim": 32,
        "depth": (1, 2, 1, 1, 1),
    },
    "LeViT": {
        "image_size": 96,
        "dim": (16, 24, 32),
        "depth": (2, 1, 1),
        "heads": (2, 3, 4),
        "key_dim": 8,
    },
    "CvT": {
        "image_size": 64,
        "dim": (16, 24, 32),
        "depth": (1, 1, 2),
        "heads": (1, 2, 4),
    },
    "CCT": {"patch_size": 3, "stride": 2},
    "T2TViT": {"image_size": 64, "token_dim": 16},
    "Swin": {
        "patch_size": 2,
        "dim": (16, 32, 64),
        "depth": (2, 1, 2),
        "heads": (2, 4, 4),
        "window": 4,
    },
    "PVT": {
        "patch_size": 2,
        "dim": (16, 24, 32),
        "depth": (2, 1, 2),
        "heads": (1, 2, 4),
        "reduction": (4, 2, 1),
        "mlp_ratio": (2, 3, 2),
    },
    "PVTv2": {
        "image_size": 64,
        "dim": (16, 24, 32),
        "depth": (2, 1, 2),
        "heads": (1, 2, 4),
        "reduction": (4, 2, 1),
        "mlp_ratio": (2, 3, 2),
    },
    "Twins": {
        "patch_size": 2,
        "dim": (16, 24, 32),
        "depth": (2, 1, 2),
        "heads": (1, 2, 4),
        "reduction": (4, 2, 1),
        "mlp_ratio": (2, 3, 2),
    },
    "MaxViT": {
        "stem_dim": 12,
        "dim": (16, 32),
        "depth": (1, 2),
        "heads": (1, 2),
        "neck_dim": 24,
        "window": 2,
    },
    "ViViT": {"image_size": (4, 16, 16), "patch_size": (2, 8, 8)},
    "CrossViT": {"patch_size": (8, 12), "dim": (32, 48), "depth": 2, "branch_depth": (1, 2)},
    "CrossFormer": {
        "patch_size": (2, 4),
        "dim": (64, 96, 128),
        "depth": (2, 1, 2),
        "heads": (2, 2, 4),
        "window": 4,
    },
    "NesT": {"patch_size": 4, "dim": (16, 32, 32), "depth": (1, 1, 2), "heads": (2, 4, 4)},
    "PiT": {"stride": 4, "dim": (16, 32, 64), "depth": (2, 1, 2), "heads": (2, 2, 4)},
    "RegionViT": {
        "patch_size": 4,
        "dim": (16, 32, 64),
        "depth": (1, 2, 1),
        "heads": (2, 2, 4),
        "window": 2,
    },
    "SepViT": {
        "patch_size": 2,
        "dim": (16, 32, 64),
        "depth": (1, 2, 1),
        "heads": (2, 2, 4),
        "window": (4, 2, 0),
        "second_window": (4, 4, 0),
    },
    "ScalableViT": {
        "patch_size": 2,
        "dim": (16, 32, 64),
        "depth": (2, 1, 2),
        "heads": (2, 2, 4),
        "reduction": (4, 2, 1),
        "key_ratio": (1.25, 0.5, 1.0),
        "window": 4,
        "head_dim": 24,
    },
    "ATSViT": {"samples": (0, 10, 4)},
    "EfficientViT": {"rank": 4},
    "ParallelViT": {"layer_scale": 0.5},
    "CaiT": {"layer_scale": 0.5},
}

# A second image size by the number of its axes, and one that patches do not divide.
SECOND = {1: (48,), 2: (48, 24), 3: (8, 24, 16)}
ODD = {1: (30,), 2: (30, 32), 3: (4, 30, 16)}

# The same by class, where those do not serve, with the reason why the latter is refused; an empty
# tuple where every size works.
RECTANGLES: dict[str, tuple[int, ...]] = {
    "NesT": (48, 32),
}
REFUSED: dict[str, tuple[tuple[int, ...], str]] = {
    "MobileViT": ((), ""),
    "LeViT": ((), ""),
    "CvT": ((), ""),
    "CCT": ((), ""),
    "T2TViT": ((), ""),
    "CrossFormer": ((31, 32), "31 x 32 pixels does not divide into patches of 2 x 2"),
    "NesT": ((40, 32), "40 x 32 pixels does not divide into patches of 16 x 16"),
    "RegionViT": ((31, 32), "31 x 32 pixels does not divide into patches"),
    "ScalableViT": ((), ""),
    "SepViT": ((), ""),
    "SigLIPViT": ((), ""),
    "XCiT": ((), ""),
    "Swin": ((31, 32), "31 x 32 pixels does not divide into patches"),
    "PVT": ((31, 32), "31 x 32 pixels does not divide into patches"),
    "PVTv2": ((), ""),
    "MaxViT": ((), ""),
    "Twins": ((31, 32), "31 x 32 pixels does not divide into patches"),
}

# Keywords that change what a model computes, each of which must keep the contract too.
MORE: dict[str, list[dict[str, Any]]] = {
    "RegionViT": [
        {"stem": "1conv", "patch_size": 2, "window": 3, "channels": 1, "image_size": (28, 20)}
    ],
    "MobileViT": [{"image_size": (72, 104), "channels": 1, "patch_size": (2, 3)}],
    "LeViT": [{"image_size": (80, 112), "channels": 1}],
    "CvT": [{"image_size": (60, 44), "channels": 1, "kv_stride": 1}],
    "CCT": [
        {"position": "sincos", "channels": 1, "patch_size": 5},
        {"position": "none", "convolutions": 2, "stride": 1, "image_size": (28, 36)},
        {"image_size": (4, 16, 24), "patch_size": (3, 5, 5), "stride": (1, 2, 2)},
        {"image_size": (64,), "channels": 2},
    ],
    "T2TViT": [{"image_size": (52, 80), "channels": 1}],
    "CrossFormer": [{"merge_size": (2, 4, 6), "channels": 1, "window": 3, "image_size": (22, 16)}],
    "NesT": [{"padding": "both", "channels": 1, "image_size": (16, 32)}],
    "PiT": [{"pool": "both", "channels": 1, "patch_size": 8, "stride": 8, "image_size": (64, 40)}],
    "SepViT": [{"channels": 1, "image_size": (36, 20), "window": (5, 3, 2)}],
    "ScalableViT": [{"head_dim": 0, "window": 7, "channels": 1, "image_size": (36, 20)}],
    "ViT": [
        {"pool": "mean", "position": "rope", "qk_norm": True},
        {"pool": "cls_mean", "position": "sincos", "registers": 3, "layer_scale": 0.5},
        {"registers": 2, "position": "rope", "channels": 1, "patch_size": (4, 8)},
        {"image_size": (64,), "channels": 2},
        {"image_size": (64,), "position": "rope"},
        {"residual_rope": True, "norm": "rms", "registers": 2},
        {"residual_rope": True, "position": "rope", "pool": "mean"},
        {"image_size": (4, 16, 16), "patch_size": (2, 8, 8)},
        {"image_size": (16, 16, 16), "position": "rope", "pool": "mean", "channels": 1},
    ],
    "SimpleViT": [{"image_size": (64,)}, {"image_size": (4, 16, 16), "patch_size": (2, 8, 8)}],
    "VisionMamba": [
        {"pool": "cls_head", "rope": "residual", "fusion": "sum"},
        {
            "pool": "cls_both",
            "position": "none",
            "rope": "branch",
            "scan": "v1",
            "layer_scale": 0.5,
        },
        {"pool": "mean", "scan": "forward", "pairs": "gate", "depth": 6, "position": "none"},
        {"scan": "v1", "pairs": "sum", "share_pairs": True, "depth": 6, "norm": "layer"},
        {
            "pool": "last",
            "scan": "forward",
            "bias": True,
            "channels": 1,
            "d_state": 5,
            "d_conv": 3,
            "expand": 3,
            "dt_rank": 7,
        },
        {"fusion": "gate", "pairs": "sum", "depth": 6, "stride": 4, "rope": "branch"},
        {"fusion": "concat", "pairs": "concat", "depth": 6, "pool": "mean"},
    ],
    "OfficialVisionMamba": [
        {"pool": "cls_random", "scan": "v1", "fusion": "sum", "flip": 0.5, "shuffle": 1.0},
        {"pairs": True, "depth": 6, "rope": "branch", "flip": 1.0},
    ],
    "ViViT": [
        {"pool": "mean", "form": "joint", "channels": 1},
        {"form": "factorised-encoder", "depth": (2, 2)},
        {"form": "factorised-encoder", "depth": (1, 2), "pool": "mean", "patch_size": (1, 8, 4)},
        {"form": "factorised-attention", "pool": "mean", "drop_path": 0.1},
    ],
    "ATSViT": [{"samples": 9, "patch_size": (4, 8), "drop_path": 0.1, "channels": 1}],
    "DeiT": [{"pool": "cls", "antialias": True}],
    "CLIPViT": [{"pool": "mean", "activation": "gelu", "channels": 1, "patch_size": (4, 8)}],
    "SigLIPViT": [{"channels": 1, "patch_size": (4, 8), "image_size": (30, 43)}],
    "BEiT": [{"pool": "cls", "shared_bias": True, "channels": 1, "patch_size": (4, 8)}],
    "CrossViT": [
        {"stem": "conv", "patch_size": (12, 16), "image_size": (48, 36), "drop_path": 0.1},
        {"scale": 0.7, "channels": 1},
    ],
    "XCiT": [{"norm_all": False, "patch_size": 4, "channels": 1, "drop_path": 0.1}],
    "PVTv2": [{"linear_attention": True, "channels": 1}],
    "MaxViT": [{"window": 3, "channels": 1, "image_size": (35, 50), "stem_dim": 16}],
    "Twins": [{"window": 3, "channels": 1}],
    "NaViT": [
        {
            "token_dropout": 0.1,
            "token_dropout_largest": 0.5,
            "channels": 1,
            "patch_size": (4, 8),
        }
    ],
    "DeepViT": [{"pool": "mean", "heads": 4, "channels": 1, "patch_size": (4, 8)}],
    "SmallViT": [{"pool": "mean", "channels": 1, "patch_size": (4, 8)}],
    "EfficientViT": [
        {"mixer": "nystrom", "pool": "mean", "rank": 5},
        {"mixer": "linformer"},
        {"mixer": "linformer", "pool": "mean", "channels": 1, "patch_size": (4, 8)},
        {"mixer": "performer", "rank": 20},
        {"mixer": "mamba"},
        {"mixer": "attention", "pool": "mean"},
    ],
    "ParallelViT": [{"branches": 3, "pool": "mean", "layer_scale": None, "drop_path": 0.1}],
    "PatchMergerViT": [{"merge_after": 2, "tokens": 5, "channels": 1}, {"merge_after": 3}],
}

CASES = [(name, more) for name in model_classes() for more in [{}, *MORE.get(name, [])]]
IDS = ["-".join([name, *map(str, more.values())]) for name, more in CASES]


# What the logits do not depend on: of CvT's last block only the class token is read, whose query
# passes by the convolution.
# Of RegionViT's last block only the regional tokens are read, which have no bias.
# The softmax of CCT's sequence pooling ignores its bias, whose gradient is rounding noise or 0.
UNREAD = {
    "CCT": "sequence_pool.bias",
    "CvT": "blocks.2.blocks.1.mixer.q_conv.*",
    "RegionViT": "blocks.2.blocks.0.bias.*",
}


def keywords_of(name: str) -> dict[str, Any]:
    """Keywords of a small model of class `name`: its first variant, shrunk."""
    model = get_model_class(name)
    entries = [entry for entry in variants().values() if entry.model is model]
    keywords = entries[0].variant.keywords if entries else {}
    return {**shrunk_keywords(model, keywords), **SMALL.get(name, {})}


def fresh(name: str, **more: Any) -> Backbone:
    """A small model of class `name` with its initial values."""
    return get_model_class(name)(**{**keywords_of(name), **more})


def small(name: str, **more: Any) -> Backbone:
    """A small model of class `name`, in eval mode, all of whose branches are in its output."""
    return awake(fresh(name, **more))


def of_published_size(variant: str) -> Backbone:
    """A variant on the meta device, whose modules draw no values, which takes half of the time."""
    owners = (nn.Linear, nn.modules.conv._ConvNd, nn.LayerNorm, nn.modules.batchnorm._NormBase)
    entry = variants()[variant]
    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        patch.setattr(Backbone, "init_weights", lambda _model: None)
        for owner in owners:
            patch.setattr(owner, "reset_parameters", lambda _module: None)
        return entry.model(**entry.variant.keywords)


def case(name: str, more: dict[str, Any]) -> ModelCase:
    """What the contract's checks take."""

    def build(**keywords: Any) -> Backbone:
        return fresh(name, **{**more, **keywords})

    size = {**keywords_of(name), **more}["image_size"]
    axes = len(size) if isinstance(size, tuple) else 2
    return ModelCase(build, UNREAD.get(name, ""), RECTANGLES.get(name, SECOND[axes]))


def images_for(model: Backbone, batch: int = 2) -> Tensor:
    """Random images of the model's size, and what follows is drawn the same every time, too."""
    torch.manual_seed(0)
    return model_case.images_for(model, batch)
