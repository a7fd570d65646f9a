"""Twins in timm."""

from vitrail.hub.converters import Timm
from vitrail.models.twins import Twins

WHAT = r"\.(weight|bias)"
BLOCK = r"blocks\.(\d+)\.(\d+)\."
OURS = r"blocks.\1.blocks.\2."


TIMM = Timm(
    Twins,
    rules=[
        (r"patch_embeds\.0\.proj" + WHAT, r"patch_embed.\1"),
        (r"patch_embeds\.0\.norm" + WHAT, r"embed_norm.\1"),
        (r"patch_embeds\.(\d+)\.proj" + WHAT, r"blocks.\1.downsample.0.conv.\2"),
        (r"patch_embeds\.(\d+)\.norm" + WHAT, r"blocks.\1.downsample.0.norm.\2"),
        (r"pos_block\.(\d+)\.proj\.0" + WHAT, r"blocks.\1.position.\2"),
        (BLOCK + r"attn\.sr" + WHAT, OURS + r"mixer.reduce.conv.\3"),
        (BLOCK + r"attn\.norm" + WHAT, OURS + r"mixer.reduce.norm.\3"),
        (BLOCK + r"attn\.(qkv|q|kv|proj)" + WHAT, OURS + r"mixer.attention.\3.\4"),
        (BLOCK + r"(norm1|norm2|mlp\.fc1|mlp\.fc2)" + WHAT, OURS + r"\3.\4"),
        (r"(norm|head)" + WHAT, r"\1.\2"),
    ],
    arguments={
        "patch_size": "patch_size",
        "embed_dims": "dim",
        "depths": "depth",
        "num_heads": "heads",
        "sr_ratios": "reduction",
        "mlp_ratios": "mlp_ratio",
    },
)
