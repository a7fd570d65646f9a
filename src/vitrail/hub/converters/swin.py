"""Swin in timm and in transformers."""

from typing import Any

from vitrail.hub.converters import Config, Keywords, Timm, Transformers
from vitrail.hub.rename import Tensors, fuse_qkv
from vitrail.models.swin import Swin

BLOCK = r"layers\.(\d+)\.blocks\.(\d+)\."
OURS = r"blocks.\1.blocks.\2."


def _widths(_config: Config, tensors: Tensors) -> Keywords:
    """The widths of all stages, of which timm's `embed_dim` is the first."""
    norms = [name for name in tensors if name.endswith(".blocks.0.norm1.weight")]
    return {"dim": tuple(len(tensors[name]) for name in sorted(norms))}


TIMM = Timm(
    Swin,
    rules=[
        (r"patch_embed\.proj\.(weight|bias)", r"patch_embed.\1"),
        (r"patch_embed\.norm\.(weight|bias)", r"embed_norm.\1"),
        (r"layers\.(\d+)\.(downsample\..*)", r"blocks.\1.\2"),
        (BLOCK + r"attn\.relative_position_bias_table", OURS + "mixer.bias.table"),
        (BLOCK + r"attn\.(qkv|proj)\.(weight|bias)", OURS + r"mixer.attention.\3.\4"),
        (BLOCK + r"((?:norm1|norm2|mlp\.fc1|mlp\.fc2)\..*)", OURS + r"\3"),
        (r"norm\.(weight|bias)", r"norm.\1"),
        (r"head\.fc\.(weight|bias)", r"head.\1"),
    ],
    arguments={
        "patch_size": "patch_size",
        "embed_dim": lambda _: {},
        "depths": "depth",
        "num_heads": "heads",
        "window_size": "window",
        "mlp_ratio": "mlp_ratio",
        "strict_img_size": lambda _: {},
    },
    ignored=[r".*relative_position_index", r".*attn_mask"],
    read=_widths,
)

LAYER = r"(?:swin\.)?encoder\.layers\.(\d+)\.blocks\.(\d+)\."
LETTERS = {"query": "q", "key": "k", "value": "v"}


def _keywords(config: dict[str, Any]) -> dict[str, Any]:
    depth = config["depths"]
    return {
        "image_size": config["image_size"],
        "patch_size": config["patch_size"],
        "dim": tuple(config["embed_dim"] * 2**i for i in range(len(depth))),
        "depth": tuple(depth),
        "heads": tuple(config["num_heads"]),
        "window": config["window_size"],
        "mlp_ratio": config["mlp_ratio"],
        "channels": config["num_channels"],
        "norm_eps": config["layer_norm_eps"],
    }


TRANSFORMERS = Transformers(
    "swin",
    Swin,
    rules=[
        (r"(?:swin\.)?embeddings\.patch_embeddings\.projection\.(weight|bias)", r"patch_embed.\1"),
        (r"(?:swin\.)?embeddings\.norm\.(weight|bias)", r"embed_norm.\1"),
        # transformers downsamples at the end of a stage, Vitrail at the start of the next
        *(
            (rf"(?:swin\.)?encoder\.layers\.{i}\.(downsample\..*)", rf"blocks.{i + 1}.\1")
            for i in range(8)
        ),
        (
            LAYER + r"attention\.self\.relative_position_bias_table",
            OURS + "mixer.bias.table",
        ),
        *(
            (LAYER + rf"attention\.self\.{word}\.(weight|bias)", OURS + rf"mixer.attention.{q}.\3")
            for word, q in LETTERS.items()
        ),
        (LAYER + r"attention\.output\.dense\.(weight|bias)", OURS + r"mixer.attention.proj.\3"),
        (LAYER + r"layernorm_before\.(weight|bias)", OURS + r"norm1.\3"),
        (LAYER + r"layernorm_after\.(weight|bias)", OURS + r"norm2.\3"),
        (LAYER + r"intermediate\.dense\.(weight|bias)", OURS + r"mlp.fc1.\3"),
        (LAYER + r"output\.dense\.(weight|bias)", OURS + r"mlp.fc2.\3"),
        (r"(?:swin\.)?layernorm\.(weight|bias)", r"norm.\1"),
        (r"classifier\.(weight|bias)", r"head.\1"),
    ],
    keywords=_keywords,
    expected={"hidden_act": "gelu", "qkv_bias": True, "use_absolute_embeddings": False},
    # the mask token and the decoder belong to SimMIM
    ignored=[r".*relative_position_index", r"(?:swin\.)?embeddings\.mask_token", r"decoder\..*"],
    finish=[fuse_qkv],
)
