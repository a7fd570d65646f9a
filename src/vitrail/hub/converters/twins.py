"""Twins' weights in timm."""

import re

from vitrail.hub.converters import Timm
from vitrail.hub.rename import Tensors
from vitrail.models.base import Backbone
from vitrail.models.twins import Twins

WHAT = r"\.(weight|bias)"
BLOCK = r"blocks\.(\d+)\.(\d+)\."
OURS = r"blocks.\1.blocks.\2."


def _finish(tensors: Tensors, _model: Backbone) -> Tensors:
    """Behind the first block of a stage stands its convolution, which timm keeps apart."""

    def later(match: re.Match[str]) -> str:
        return f"{match[1]}{int(match[2]) + 1}."

    pattern = r"(blocks\.\d+\.blocks\.)([1-9]\d*)\."
    named = {re.sub(pattern, later, name): tensor for name, tensor in tensors.items()}
    return {name.replace("position", "blocks.1"): tensor for name, tensor in named.items()}


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
    finish=_finish,
)
