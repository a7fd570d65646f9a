"""ViViT's weights in transformers: the joint form, whose blocks have the names of its ViT."""

import math
from typing import Any

from vitrail.hub.converters import Transformers
from vitrail.hub.rename import Tensors, fold_prefix_positions, fuse
from vitrail.hub.converters.from_transformers import IGNORED, RULES
from vitrail.models.base import Backbone
from vitrail.models.vivit import ViViT


def _keywords(config: dict[str, Any]) -> dict[str, Any]:
    size = config["image_size"]
    height, width = (size, size) if isinstance(size, int) else size
    return {
        "image_size": (config["num_frames"], height, width),
        "patch_size": tuple(config["tubelet_size"]),
        "dim": config["hidden_size"],
        "depth": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "mlp_dim": config["intermediate_size"],
        "channels": config["num_channels"],
        "norm_eps": config["layer_norm_eps"],
    }


def _finish(tensors: Tensors, model: Backbone) -> Tensors:
    return fold_prefix_positions(fuse(tensors), ["class_token"], math.prod(model.grid))


TRANSFORMERS = Transformers(
    "vivit",
    ViViT,
    rules=RULES,
    keywords=_keywords,
    expected={"hidden_act": "gelu_fast", "qkv_bias": True},
    ignored=IGNORED,
    finish=_finish,
)
