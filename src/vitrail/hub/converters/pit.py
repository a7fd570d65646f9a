"""PiT's weights in timm."""

from vitrail.hub.converters import Timm
from vitrail.hub.rename import Tensors
from vitrail.models.base import Backbone
from vitrail.models.pit import PiT

STAGE, OURS = r"transformers\.(\d+)\.", r"blocks.\1."


def _finish(tensors: Tensors, _model: Backbone) -> Tensors:
    """Positions as a sequence; with two heads, the first by its name."""
    position = tensors["position"].flatten(2).transpose(1, 2)
    if "head.dist.weight" in tensors:
        tensors = {name.replace("head.w", "head.cls.w"): t for name, t in tensors.items()}
        tensors = {name.replace("head.b", "head.cls.b"): t for name, t in tensors.items()}
    return {**tensors, "position": position}


TIMM = Timm(
    PiT,
    rules=[
        (r"patch_embed\.conv\.(weight|bias)", r"patch_embed.\1"),
        (r"pos_embed", "position"),
        (r"cls_token", "class_token"),
        (STAGE + r"pool\.((?:conv|fc)\..*)", OURS + r"downsample.\2"),
        (STAGE + r"blocks\.(\d+)\.attn\.(.*)", OURS + r"blocks.\2.mixer.\3"),
        (STAGE + r"(blocks\.\d+\.(?:norm1|norm2|mlp\.fc1|mlp\.fc2)\..*)", OURS + r"\2"),
        (r"norm\.(weight|bias)", r"norm.\1"),
        (r"head\.(weight|bias)", r"head.\1"),
        (r"head_dist\.(weight|bias)", r"head.dist.\1"),
    ],
    arguments={
        "patch_size": "patch_size",
        "stride": "stride",
        "depth": "depth",
        "mlp_ratio": "mlp_ratio",
    },
    finish=_finish,
)
