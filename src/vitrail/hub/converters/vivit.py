"""ViViT in transformers: the joint form, whose weights are named as those of its ViT."""

from typing import Any

from vitrail.hub.converters import Config, Transformers
from vitrail.hub.converters.from_transformers import shape_keywords
from vitrail.hub.converters.vit import EXPECTED, IGNORED, RULES
from vitrail.hub.rename import fuse_qkv
from vitrail.models.vivit import ViViT


def _keywords(config: Config) -> dict[str, Any]:
    size = config["image_size"]
    height, width = (size, size) if isinstance(size, int) else size
    return {
        **shape_keywords(config),
        "image_size": (config["num_frames"], height, width),
        "patch_size": config["tubelet_size"],
    }


TRANSFORMERS = Transformers(
    "vivit",
    ViViT,
    rules=RULES,
    keywords=_keywords,
    expected={**EXPECTED, "hidden_act": "gelu_fast"},
    ignored=IGNORED,
    finish=[fuse_qkv],
)
