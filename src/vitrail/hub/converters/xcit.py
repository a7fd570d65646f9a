"""XCiT's weights in timm."""

from vitrail.hub.converters import Timm
from vitrail.hub.rename import Tensors, fuse
from vitrail.models.base import Backbone
from vitrail.models.xcit import XCiT

BLOCK, CLASS, OUR_CLASS = r"blocks\.(\d+)\.", r"cls_attn_blocks\.(\d+)\.", r"class_blocks.\1."
# Of a block's three branches: timm's number of norm and scale, its module, ours.
BRANCHES = (("1", "attn", 0), ("3", "local_mp", 1), ("2", "mlp", 2))
LAST = r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"


def _finish(tensors: Tensors, _model: Backbone) -> Tensors:
    """Fuses keys and values; takes away axes of length 1."""
    shapes = {
        "temperature": (-1,),
        "positions.proj.weight": (len(tensors["positions.proj.bias"]), -1),
    }
    for name, tensor in tensors.items():
        for end, shape in shapes.items():
            if name.endswith(end):
                tensors[name] = tensor.reshape(shape)
    return fuse(tensors, "kv")


TIMM = Timm(
    XCiT,
    rules=[
        (r"cls_token", "class_token"),
        (r"pos_embed\.token_projection\.(weight|bias)", r"positions.proj.\1"),
        *(
            (rf"patch_embed\.proj\.{2 * i}\.{j}" + LAST, rf"patch_embed.{i}.{part}.\1")
            for i in range(8)
            for j, part in enumerate(("conv", "norm"))
        ),
        *(
            rule
            for number, module, place in BRANCHES
            for rule in (
                (BLOCK + rf"norm{number}\.(weight|bias)", rf"blocks.\1.blocks.{place}.norm.\2"),
                (BLOCK + rf"gamma{number}", rf"blocks.\1.blocks.{place}.scale.gamma"),
                (BLOCK + rf"{module}\.bn" + LAST, rf"blocks.\1.blocks.{place}.branch.norm.\2"),
                (BLOCK + rf"{module}\.(.*)", rf"blocks.\1.blocks.{place}.branch.\2"),
            )
        ),
        (CLASS + r"attn\.((?:q|k|v|proj)\..*)", OUR_CLASS + r"mixer.\2"),
        (CLASS + r"gamma([12])", OUR_CLASS + r"scale\2.gamma"),
        (CLASS + r"((?:norm1|norm2|mlp\.fc1|mlp\.fc2)\..*)", OUR_CLASS + r"\2"),
        (r"(norm|head)\.(weight|bias)", r"\1.\2"),
    ],
    arguments={
        "patch_size": "patch_size",
        "embed_dim": lambda dim: {"dim": dim, "mlp_dim": 4 * dim},
        "depth": "depth",
        "num_heads": "heads",
        "cls_attn_layers": "class_depth",
        "eta": "layer_scale",
        "tokens_norm": "norm_all",
    },
    finish=_finish,
)
