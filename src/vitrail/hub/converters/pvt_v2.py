"""PVT v2 in timm and in transformers."""

from typing import Any

from vitrail.hub.converters import Timm, Transformers
from vitrail.hub.rename import Tensors, fuse_kv
from vitrail.models.base import Backbone
from vitrail.models.pvt_v2 import PVTv2

WHAT = r"\.(weight|bias)"


def _move_last_norm(tensors: Tensors, model: Backbone) -> Tensors:
    """Makes the last stage's norm the model's."""
    moved = dict(tensors)
    for kind in ("weight", "bias"):
        moved[f"norm.{kind}"] = moved.pop(f"blocks.{len(model.blocks) - 1}.norm.{kind}")
    return moved


STAGE = r"stages\.(\d+)\."
TIMM = Timm(
    PVTv2,
    rules=[
        (r"patch_embed\.proj" + WHAT, r"patch_embed.conv.\1"),
        (r"patch_embed\.norm" + WHAT, r"patch_embed.norm.\1"),
        (STAGE + r"downsample\.proj" + WHAT, r"blocks.\1.downsample.conv.\2"),
        (STAGE + r"((?:downsample\.)?norm)" + WHAT, r"blocks.\1.\2.\3"),
        (STAGE + r"blocks\.(\d+)\.attn\.sr" + WHAT, r"blocks.\1.blocks.\2.mixer.reduce.conv.\3"),
        (STAGE + r"blocks\.(\d+)\.attn\.norm" + WHAT, r"blocks.\1.blocks.\2.mixer.reduce.norm.\3"),
        (
            STAGE + r"blocks\.(\d+)\.attn\.(q|kv|proj)" + WHAT,
            r"blocks.\1.blocks.\2.mixer.attention.\3.\4",
        ),
        (STAGE + r"blocks\.(\d+)\.mlp\.dwconv" + WHAT, r"blocks.\1.blocks.\2.mlp.activation.\3"),
        (
            STAGE + r"blocks\.(\d+)\.(norm1|norm2|mlp\.fc1|mlp\.fc2)" + WHAT,
            r"blocks.\1.blocks.\2.\3.\4",
        ),
        (r"head" + WHAT, r"head.\1"),
    ],
    arguments={
        "embed_dims": "dim",
        "depths": "depth",
        "num_heads": "heads",
        "sr_ratios": "reduction",
        "mlp_ratios": "mlp_ratio",
        "linear": "linear_attention",
    },
    finish=[_move_last_norm, fuse_kv],
)

LAYER = r"(?:pvt_v2\.)?encoder\.layers\.(\d+)\."
MODULES = {
    r"layer_norm_1": "norm1",
    r"attention\.query": "mixer.attention.q",
    r"attention\.key": "mixer.attention.k",
    r"attention\.value": "mixer.attention.v",
    r"attention\.proj": "mixer.attention.proj",
    r"attention\.spatial_reduction": "mixer.reduce.conv",
    r"attention\.layer_norm": "mixer.reduce.norm",
    r"layer_norm_2": "norm2",
    r"mlp\.dense1": "mlp.fc1",
    r"mlp\.dwconv\.dwconv": "mlp.activation",
    r"mlp\.dense2": "mlp.fc2",
}


def _keywords(config: dict[str, Any]) -> dict[str, Any]:
    size = config["image_size"]
    if isinstance(size, dict):
        size = (size["height"], size["width"])
    return {
        "image_size": size if isinstance(size, int) else tuple(size),
        "dim": tuple(config["hidden_sizes"]),
        "depth": tuple(config["depths"]),
        "heads": tuple(config["num_attention_heads"]),
        "reduction": tuple(config["sr_ratios"]),
        "mlp_ratio": tuple(config["mlp_ratios"]),
        "linear_attention": config["linear_attention"],
        "channels": config["num_channels"],
        "norm_eps": config["layer_norm_eps"],
        "reduce_eps": config["layer_norm_eps"],
    }


TRANSFORMERS = Transformers(
    "pvt_v2",
    PVTv2,
    rules=[
        (LAYER.replace(r"(\d+)", "0") + r"patch_embedding\.proj" + WHAT, r"patch_embed.conv.\1"),
        (
            LAYER.replace(r"(\d+)", "0") + r"patch_embedding\.layer_norm" + WHAT,
            r"patch_embed.norm.\1",
        ),
        (LAYER + r"patch_embedding\.proj" + WHAT, r"blocks.\1.downsample.conv.\2"),
        (LAYER + r"patch_embedding\.layer_norm" + WHAT, r"blocks.\1.downsample.norm.\2"),
        (LAYER + r"layer_norm" + WHAT, r"blocks.\1.norm.\2"),
        *(
            (LAYER + r"blocks\.(\d+)\." + name + WHAT, rf"blocks.\1.blocks.\2.{ours}.\3")
            for name, ours in MODULES.items()
        ),
        (r"classifier" + WHAT, r"head.\1"),
    ],
    keywords=_keywords,
    expected={
        "hidden_act": "gelu",
        "qkv_bias": True,
        "patch_sizes": [7, 3, 3, 3],
        "strides": [4, 2, 2, 2],
    },
    finish=[_move_last_norm, fuse_kv],
)
