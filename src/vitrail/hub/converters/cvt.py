"""CvT in transformers."""

from typing import Any

from vitrail.hub.converters import Transformers
from vitrail.hub.rename import normed
from vitrail.models.cvt import CvT


def _keywords(config: dict[str, Any]) -> dict[str, Any]:
    return {
        "image_size": 224,  # the config has none; any size works
        "dim": tuple(config["embed_dim"]),
        "depth": tuple(config["depth"]),
        "heads": tuple(config["num_heads"]),
        "kv_stride": config["stride_kv"][0],
        "mlp_ratio": config["mlp_ratio"][0],
        "channels": config["num_channels"],
    }


STAGE = r"cvt\.encoder\.stages\.(\d)\."
LAYER, OURS = STAGE + r"layers\.(\d+)\.", r"blocks.\1.blocks.\2."
EMBED = r"embedding\.convolution_embeddings\."
TRANSFORMERS = Transformers(
    "cvt",
    CvT,
    rules=[
        (rf"cvt\.encoder\.stages\.0\.{EMBED}projection\.(.*)", r"patch_embed.conv.\1"),
        (rf"cvt\.encoder\.stages\.0\.{EMBED}normalization\.(.*)", r"patch_embed.norm.\1"),
        (STAGE + EMBED + r"projection\.(.*)", r"blocks.\1.embed.conv.\2"),
        (STAGE + EMBED + r"normalization\.(.*)", r"blocks.\1.embed.norm.\2"),
        (STAGE + "cls_token", r"blocks.\1.class_token.weight"),
        *(
            rule
            for word in ("query", "key", "value")
            for rule in (
                *normed(
                    rf"{LAYER}attention\.attention\.convolution_projection_{word}"
                    r"\.convolution_projection",
                    f"{OURS}mixer.{word[0]}_conv",
                    "convolution",
                    "normalization",
                ),
                (
                    rf"{LAYER}attention\.attention\.projection_{word}\.(.*)",
                    rf"{OURS}mixer.{word[0]}.\3",
                ),
            )
        ),
        (LAYER + r"attention\.output\.dense\.(.*)", OURS + r"mixer.proj.\3"),
        (LAYER + r"intermediate\.dense\.(.*)", OURS + r"mlp.fc1.\3"),
        (LAYER + r"output\.dense\.(.*)", OURS + r"mlp.fc2.\3"),
        (LAYER + r"layernorm_before\.(.*)", OURS + r"norm1.\3"),
        (LAYER + r"layernorm_after\.(.*)", OURS + r"norm2.\3"),
        (r"layernorm\.(weight|bias)", r"norm.\1"),
        (r"classifier\.(weight|bias)", r"head.\1"),
    ],
    keywords=_keywords,
    expected={
        "patch_sizes": [7, 3, 3],
        "patch_stride": [4, 2, 2],
        "patch_padding": [2, 1, 1],
        "qkv_projection_method": ["dw_bn"] * 3,
        "qkv_bias": [True] * 3,
        "cls_token": [False, False, True],
        "kernel_qkv": [3] * 3,
        "padding_q": [1] * 3,
        "padding_kv": [1] * 3,
        "stride_q": [1] * 3,
    },
)
