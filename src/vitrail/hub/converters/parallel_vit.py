"""Parallel ViT's weights in timm."""

from vitrail.hub.converters import Timm
from vitrail.models.parallel_vit import ParallelViT

ATTENTION, OURS = r"blocks\.(\d+)\.attns\.(\d+)\.", r"blocks.\1.attentions.\2."
MLP, OUR_MLP = r"blocks\.(\d+)\.ffns\.(\d+)\.", r"blocks.\1.mlps.\2."

TIMM = Timm(
    ParallelViT,
    rules=[
        (r"cls_token", "class_token.weight"),
        (r"pos_embed", "position.weight"),
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
    arguments={"init_values": "layer_scale"},
    pool="token",
)
