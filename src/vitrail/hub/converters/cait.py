"""CaiT's weights in timm."""

from vitrail.hub.converters import Timm
from vitrail.hub.rename import fuse_kv
from vitrail.models.cait import CaiT

BLOCK, OURS = r"blocks\.(\d+)\.", r"blocks.\1."
CLASS, OUR_CLASS = r"blocks_token_only\.(\d+)\.", r"class_blocks.\1."

TIMM = Timm(
    CaiT,
    rules=[
        (r"cls_token", "class_token.weight"),
        (r"pos_embed", "position.weight"),
        (r"patch_embed\.proj\.(weight|bias)", r"patch_embed.\1"),
        (BLOCK + r"attn\.proj_l\.(weight|bias)", OURS + r"mixer.attend.before.\2"),
        (BLOCK + r"attn\.proj_w\.(weight|bias)", OURS + r"mixer.attend.after.\2"),
        (BLOCK + r"attn\.((?:qkv|proj)\..*)", OURS + r"mixer.\2"),
        (CLASS + r"attn\.((?:q|k|v|proj)\..*)", OUR_CLASS + r"mixer.\2"),
        *(
            rule
            for theirs, ours in ((BLOCK, OURS), (CLASS, OUR_CLASS))
            for rule in (
                (theirs + r"gamma_([12])", ours + r"scale\2.gamma"),
                (theirs + r"((?:norm1|norm2|mlp\.fc1|mlp\.fc2)\..*)", ours + r"\2"),
            )
        ),
        (r"(norm|head)\.(weight|bias)", r"\1.\2"),
    ],
    arguments={"depth_token_only": "class_depth", "init_values": "layer_scale"},
    finish=[fuse_kv],
    pool="token",
)
