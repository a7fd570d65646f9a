"""Parallel ViT's weights in timm."""

from vitrail.hub.converters import Timm
from vitrail.hub.rename import Tensors, fold_prefix_positions
from vitrail.models.base import Backbone
from vitrail.models.parallel_vit import ParallelViT

ATTENTION, OURS = r"blocks\.(\d+)\.attns\.(\d+)\.", r"blocks.\1.attentions.\2."
MLP, OUR_MLP = r"blocks\.(\d+)\.ffns\.(\d+)\.", r"blocks.\1.mlps.\2."


def _finish(tensors: Tensors, model: Backbone) -> Tensors:
    return fold_prefix_positions(tensors, ["class_token"], model.grid[0] * model.grid[1])


TIMM = Timm(
    ParallelViT,
    rules=[
        (r"cls_token", "class_token"),
        (r"pos_embed", "position"),
        (r"patch_embed\.proj\.(weight|bias)", r"patch_embed.\1"),
        *(
            rule
            for theirs, ours, layer in ((ATTENTION, OURS, "attn"), (MLP, OUR_MLP, "mlp"))
            for rule in (
                (theirs + r"(norm\..*)", ours + r"\3"),
                (theirs + layer + r"\.(.*)", ours + r"layer.\3"),
                (theirs + r"ls\.gamma", ours + "scale.gamma"),
            )
        ),
        (r"(norm|head)\.(weight|bias)", r"\1.\2"),
    ],
    arguments={
        "patch_size": "patch_size",
        "embed_dim": lambda dim: {"dim": dim, "mlp_dim": 4 * dim},
        "depth": "depth",
        "num_heads": "heads",
        "init_values": "layer_scale",
    },
    finish=_finish,
)
