"""MobileViT's weights in timm and in transformers."""

from typing import Any

from vitrail.hub.converters import Timm, Transformers
from vitrail.hub.rename import Tensors, fuse, normed
from vitrail.models.base import Backbone
from vitrail.models.mobile_vit import MobileViT


def _linear(tensors: Tensors, _model: Backbone) -> Tensors:
    """The last 1×1 convolution is a linear layer on tokens here."""
    tensors["last.linear.weight"] = tensors["last.linear.weight"].flatten(1)
    return tensors


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
        *normed(BLOCK + "conv_fusion", OURS + "fuse"),
        (BLOCK + r"conv_1x1\.weight", OURS + "widen.weight"),
        (BLOCK + r"transformer\.(\d)\.attn\.(.*)", OURS + r"blocks.\2.mixer.\3"),
        (BLOCK + r"transformer\.(\d)\.((?:norm1|norm2|mlp)\..*)", OURS + r"blocks.\2.\3"),
        (BLOCK + r"norm\.(weight|bias)", OURS + r"norm.\2"),
        *normed("final_conv", "last", kind="linear"),
        (r"head\.fc\.(weight|bias)", r"head.\1"),
    ],
    finish=_linear,
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


def _finish(tensors: Tensors, model: Backbone) -> Tensors:
    return fuse(_linear(tensors, model))


BASE = r"mobilevit\.encoder\.layer\.(\d)\."
LAYER, PLACE = BASE + r"transformer\.layer\.(\d)\.", r"blocks.\1.1.blocks.\2."
INVERTED = {"expand_1x1": 0, "conv_3x3": 1, "reduce_1x1": 2}
SINGLE = {"conv_kxk": "local", "conv_projection": "project", "fusion": "fuse"}
NAMED = ("convolution", "normalization")
TRANSFORMERS = Transformers(
    "mobilevit",
    MobileViT,
    rules=[
        *normed(r"mobilevit\.conv_stem", "stem", *NAMED),
        *normed(r"mobilevit\.conv_1x1_exp", "last", *NAMED, kind="linear"),
        *(
            rule
            for part, place in INVERTED.items()
            for rule in (
                *normed(BASE + r"layer\.(\d)\." + part, rf"blocks.\1.\2.{place}", *NAMED),
                *normed(BASE + r"downsampling_layer\." + part, rf"blocks.\1.0.{place}", *NAMED),
            )
        ),
        *(
            rule
            for part, place in SINGLE.items()
            for rule in normed(BASE + part, OURS + place, *NAMED)
        ),
        (BASE + r"conv_1x1\.convolution\.weight", OURS + "widen.weight"),
        (BASE + r"layernorm\.(weight|bias)", OURS + r"norm.\2"),
        *(
            (LAYER + rf"attention\.attention\.{word}\.(.*)", PLACE + rf"mixer.{word[0]}.\3")
            for word in ("query", "key", "value")
        ),
        (LAYER + r"attention\.output\.dense\.(.*)", PLACE + r"mixer.proj.\3"),
        (LAYER + r"layernorm_before\.(.*)", PLACE + r"norm1.\3"),
        (LAYER + r"layernorm_after\.(.*)", PLACE + r"norm2.\3"),
        (LAYER + r"intermediate\.dense\.(.*)", PLACE + r"mlp.fc1.\3"),
        (LAYER + r"output\.dense\.(.*)", PLACE + r"mlp.fc2.\3"),
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
    finish=_finish,
    stem="stem.conv.weight",
)
