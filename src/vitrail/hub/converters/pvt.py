"""PVT in transformers."""

from typing import Any

from vitrail.hub.converters import Transformers
from vitrail.hub.rename import fuse_kv
from vitrail.models.pvt import PVT

EMBED = r"(?:pvt\.)?encoder\.patch_embeddings\."
BLOCK = r"(?:pvt\.)?encoder\.block\.(\d+)\.(\d+)\."
OURS = r"blocks.\1.blocks.\2."
MODULES = {
    r"layer_norm_1": "norm1",
    r"attention\.self\.query": "mixer.attention.q",
    r"attention\.self\.key": "mixer.attention.k",
    r"attention\.self\.value": "mixer.attention.v",
    r"attention\.self\.sequence_reduction": "mixer.reduce.conv",
    r"attention\.self\.layer_norm": "mixer.reduce.norm",
    r"attention\.output\.dense": "mixer.attention.proj",
    r"layer_norm_2": "norm2",
    r"mlp\.dense1": "mlp.fc1",
    r"mlp\.dense2": "mlp.fc2",
}


def _keywords(config: dict[str, Any]) -> dict[str, Any]:
    return {
        "image_size": config["image_size"],
        "patch_size": config["patch_sizes"][0],
        "dim": tuple(config["hidden_sizes"]),
        "depth": tuple(config["depths"]),
        "heads": tuple(config["num_attention_heads"]),
        "reduction": tuple(config["sequence_reduction_ratios"]),
        "mlp_ratio": tuple(config["mlp_ratios"]),
        "channels": config["num_channels"],
        "norm_eps": config["layer_norm_eps"],
        "reduce_eps": config["layer_norm_eps"],
    }


TRANSFORMERS = Transformers(
    "pvt",
    PVT,
    rules=[
        (EMBED + r"0\.position_embeddings", "position.weight"),
        (EMBED + r"0\.projection\.(weight|bias)", r"patch_embed.\1"),
        (EMBED + r"0\.layer_norm\.(weight|bias)", r"embed_norm.\1"),
        (EMBED + r"(\d+)\.position_embeddings", r"blocks.\1.position.weight"),
        (EMBED + r"(\d+)\.cls_token", r"blocks.\1.class_token.weight"),
        (EMBED + r"(\d+)\.projection\.(weight|bias)", r"blocks.\1.downsample.conv.\2"),
        (EMBED + r"(\d+)\.layer_norm\.(weight|bias)", r"blocks.\1.downsample.norm.\2"),
        *(
            (BLOCK + name + r"\.(weight|bias)", OURS + ours + r".\3")
            for name, ours in MODULES.items()
        ),
        (r"(?:pvt\.)?encoder\.layer_norm\.(weight|bias)", r"norm.\1"),
        (r"classifier\.(weight|bias)", r"head.\1"),
    ],
    keywords=_keywords,
    expected={
        "hidden_act": "gelu",
        "qkv_bias": True,
        "patch_sizes": [4, 2, 2, 2],
        "strides": [4, 2, 2, 2],
    },
    finish=[fuse_kv],
)
