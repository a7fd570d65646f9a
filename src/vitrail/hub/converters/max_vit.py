"""MaxViT in timm: the authors' weights, "tf" in their names."""

import re
from typing import Any

from vitrail.hub.converters import Timm
from vitrail.hub.rename import Tensors
from vitrail.models.base import Backbone
from vitrail.models.max_vit import MaxViT

WHAT = r"\.(weight|bias)"
NORM = r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"
BLOCK = r"stages\.(\d+)\.blocks\.(\d+)\."
OURS = r"blocks.\1.blocks.\2."
PARTS = {
    r"conv\.pre_norm" + NORM: r"0.norm.\3",
    r"conv\.conv1_1x1\.weight": "0.widen.linear.weight",
    r"conv\.norm1" + NORM: r"0.widen.norm.\3",
    r"conv\.conv2_kxk\.weight": "0.filter.conv.weight",
    r"conv\.norm2" + NORM: r"0.filter.norm.\3",
    r"conv\.se\.(fc1|fc2)" + WHAT: r"0.excite.\3.\4",
    r"conv\.conv3_1x1" + WHAT: r"0.narrow.\3",
    r"conv\.shortcut\.expand" + WHAT: r"0.shortcut.\3",
}
for name, index in (("attn_block", 1), ("attn_grid", 2)):
    PARTS |= {
        name + r"\.(norm1|norm2|mlp\.fc1|mlp\.fc2)" + WHAT: rf"{index}.\3.\4",
        name + r"\.attn\.(qkv|proj)" + WHAT: rf"{index}.mixer.attention.\3.\4",
        name + r"\.attn\.rel_pos\.relative_position_bias_table": f"{index}.mixer.bias.table",
    }


def _flatten(tensors: Tensors, _model: Backbone) -> Tensors:
    """Makes matrices of 1 × 1 convolutions and tables; timm counts key minus query in a table."""
    for name, tensor in tensors.items():
        if name.endswith("bias.table"):
            tensors[name] = tensor.flip(1, 2).flatten(1).t().contiguous()
        elif re.fullmatch(r".*\.(widen\.linear|excite\.fc.|narrow|shortcut)\.weight", name):
            tensors[name] = tensor.flatten(1)
    return tensors


def _image_size(size: int | tuple[int, int]) -> dict[str, Any]:
    window = size // 32 if isinstance(size, int) else tuple(side // 32 for side in size)
    return {"image_size": size, "window": window}


TIMM = Timm(
    MaxViT,
    rules=[
        (r"stem\.conv1" + WHAT, r"stem.conv.\1"),
        (r"stem\.norm1" + NORM, r"stem.norm.\1"),
        (r"stem\.conv2" + WHAT, r"stem_conv.\1"),
        *((BLOCK + theirs, OURS + ours) for theirs, ours in PARTS.items()),
        (r"head\.norm" + WHAT, r"neck.0.\1"),
        (r"head\.pre_logits\.fc" + WHAT, r"neck.1.\1"),
        (r"head\.fc" + WHAT, r"head.\1"),
    ],
    arguments={
        "img_size": _image_size,
        "stem_width": "stem_dim",
        "embed_dim": lambda dim: {"dim": dim, "heads": tuple(width // 32 for width in dim)},
        "depths": "depth",
        "head_hidden_size": "neck_dim",
    },
    finish=[_flatten],
)
