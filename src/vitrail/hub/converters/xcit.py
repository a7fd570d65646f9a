"""XCiT in timm."""

from vitrail.hub.converters import Timm
from vitrail.hub.rename import Tensors, fuse_kv
from vitrail.models.base import Backbone
from vitrail.models.xcit import XCiT

BLOCK, CLASS, OUR_CLASS = r"blocks\.(\d+)\.", r"cls_attn_blocks\.(\d+)\.", r"class_blocks.\1."
# The three branches of a block: timm's number of its norm and scale, timm's module, our index.
BRANCHES = (("1", "attn", 0), ("3", "local_mp", 1), ("2", "mlp", 2))
STATE = r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"


def _drop_axes_of_length_1(tensors: Tensors, _model: Backbone) -> Tensors:
    """Temperatures (H, 1, 1) become (H,), and the 1 × 1 convolution of positions a matrix."""
    flat = dict(tensors)
    for name, tensor in tensors.items():
        if name.endswith(".temperature"):
            flat[name] = tensor.flatten()
    flat["positions.proj.weight"] = tensors["positions.proj.weight"].flatten(1)
    return flat


TIMM = Timm(
    XCiT,
    rules=[
        (r"cls_token", "class_token.weight"),
        (r"pos_embed\.token_projection\.(weight|bias)", r"positions.proj.\1"),
        *(
            (rf"patch_embed\.proj\.{2 * i}\.{j}" + STATE, rf"patch_embed.{i}.{layer}.\1")
            for i in range(8)
            for j, layer in enumerate(("conv", "norm"))
        ),
        *(
            rule
            for number, module, index in BRANCHES
            for rule in (
                (BLOCK + rf"norm{number}\.(weight|bias)", rf"blocks.\1.blocks.{index}.norm.\2"),
                (BLOCK + rf"gamma{number}", rf"blocks.\1.blocks.{index}.scale.gamma"),
                (BLOCK + rf"{module}\.bn" + STATE, rf"blocks.\1.blocks.{index}.branch.norm.\2"),
                (BLOCK + rf"{module}\.(.*)", rf"blocks.\1.blocks.{index}.branch.\2"),
            )
        ),
        (CLASS + r"attn\.((?:q|k|v|proj)\..*)", OUR_CLASS + r"mixer.\2"),
        (CLASS + r"gamma([12])", OUR_CLASS + r"scale\2.gamma"),
        (CLASS + r"((?:norm1|norm2|mlp\.fc1|mlp\.fc2)\..*)", OUR_CLASS + r"\2"),
        (r"(norm|head)\.(weight|bias)", r"\1.\2"),
    ],
    arguments={
        "cls_attn_layers": "class_depth",
        "eta": "layer_scale",
        "tokens_norm": "norm_all",
    },
    finish=[_drop_axes_of_length_1, fuse_kv],
    pool="token",
)
