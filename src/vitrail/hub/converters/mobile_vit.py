"""MobileViT in timm and in transformers."""

from typing import Any

from vitrail.hub.converters import Timm, Transformers
from vitrail.hub.rename import Tensors, fuse_qkv, normed
from vitrail.models.base import Backbone
from vitrail.models.mobile_vit import MobileViT


def _flatten_last(tensors: Tensors, _model: Backbone) -> Tensors:
    """Makes a matrix of the last 1 × 1 convolution."""
    weight = tensors["last.linear.weight"].flatten(1)
    return {**tensors, "last.linear.weight": weight}


BLOCK, OURS = r"stages\.(\d)\.1\.", r"blocks.\1.1."
TIMM = Timm(
    MobileViT,
    rules=[
        *normed(r"stem", "stem"),
        *normed(r"stages\.(\d)\.(\d)\.conv1_1x1", r"blocks.\1.\2.0"),
        *normed(r"stages\.(\d)\.(\d)\.conv2_kxk", r"blocks.\1.\2.1"),
        *normed(r"stages\.(\d)\.(\d)\.conv3_1x1", r"blocks.\1.\2.2"),
        *normed(BLOCK + "conv_kxk", OURS + "local"),
        *normed(BLOCK + "conv_proj", OURS + "project"),
        *normed(BLOCK + "conv_fusion", OURS + "merge"),
        (BLOCK + r"conv_1x1\.weight", OURS + "widen.weight"),
        (BLOCK + r"transformer\.(\d)\.attn\.(.*)", OURS + r"blocks.\2.mixer.\3"),
        (BLOCK + r"transformer\.(\d)\.((?:norm1|norm2|mlp)\..*)", OURS + r"blocks.\2.\3"),
        (BLOCK + r"norm\.(weight|bias)", OURS + r"norm.\2"),
        *normed("final_conv", "last", kind="linear"),
        (r"head\.fc\.(weight|bias)", r"head.\1"),
    ],
    finish=[_flatten_last],
)


def _keywords(config: dict[str, Any]) -> dict[str, Any]:
    stem, *dim, out = config["neck_hidden_sizes"]
    size, patch = config["image_size"], config["patch_size"]
    return {
        "image_size": tuple(size) if isinstance(size, list) else size,
        "patch_size": tuple(patch) if isinstance(patch, list) else patch,
        "stem_dim": stem,
        "dim": tuple(dim),
        "token_dim": tuple(config["hidden_sizes"]),
        "out_dim": out,
        "heads": config["num_attention_heads"],
        "expand": config["expand_ratio"],
        "channels": config["num_channels"],
    }


BASE = r"mobilevit\.encoder\.layer\.(\d)\."
LAYER, OUR_LAYER = BASE + r"transformer\.layer\.(\d)\.", r"blocks.\1.1.blocks.\2."
INVERTED = {"expand_1x1": 0, "conv_3x3": 1, "reduce_1x1": 2}
SINGLE = {"conv_kxk": "local", "conv_projection": "project", "fusion": "merge"}
NORMED = ("convolution", "normalization")
TRANSFORMERS = Transformers(
    "mobilevit",
    MobileViT,
    rules=[
        *normed(r"mobilevit\.conv_stem", "stem", *NORMED),
        *normed(r"mobilevit\.conv_1x1_exp", "last", *NORMED, kind="linear"),
        *(
            rule
            for name, index in INVERTED.items()
            for rule in (
                *normed(BASE + r"layer\.(\d)\." + name, rf"blocks.\1.\2.{index}", *NORMED),
                *normed(BASE + r"downsampling_layer\." + name, rf"blocks.\1.0.{index}", *NORMED),
            )
        ),
        *(
            rule
            for name, ours in SINGLE.items()
            for rule in normed(BASE + name, OURS + ours, *NORMED)
        ),
        (BASE + r"conv_1x1\.convolution\.weight", OURS + "widen.weight"),
        (BASE + r"layernorm\.(weight|bias)", OURS + r"norm.\2"),
        *(
            (LAYER + rf"attention\.attention\.{word}\.(.*)", OUR_LAYER + rf"mixer.{word[0]}.\3")
            for word in ("query", "key", "value")
        ),
        (LAYER + r"attention\.output\.dense\.(.*)", OUR_LAYER + r"mixer.proj.\3"),
        (LAYER + r"layernorm_before\.(.*)", OUR_LAYER + r"norm1.\3"),
        (LAYER + r"layernorm_after\.(.*)", OUR_LAYER + r"norm2.\3"),
        (LAYER + r"intermediate\.dense\.(.*)", OUR_LAYER + r"mlp.fc1.\3"),
        (LAYER + r"output\.dense\.(.*)", OUR_LAYER + r"mlp.fc2.\3"),
        (r"classifier\.(weight|bias)", r"head.\1"),
    ],
    keywords=_keywords,
    expected={
        "hidden_act": "silu",
        "qkv_bias": True,
        "mlp_ratio": 2.0,
        "layer_norm_eps": 1e-5,
        "conv_kernel_size": 3,
        "output_stride": 32,
    },
    finish=[_flatten_last, fuse_qkv],
    stem="stem.conv.weight",
)
