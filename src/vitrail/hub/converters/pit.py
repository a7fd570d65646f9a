"""PiT in timm."""

from vitrail.hub.converters import Timm
from vitrail.hub.rename import Tensors
from vitrail.models.base import Backbone
from vitrail.models.pit import PiT

STAGE, OURS = r"transformers\.(\d+)\.", r"blocks.\1."


def _split_tokens(tensors: Tensors, _model: Backbone) -> Tensors:
    """Positions (1, D, H, W) become (1, N, D); distilled models have two tokens and two heads."""
    split = dict(tensors)
    split["position.weight"] = tensors["position.weight"].flatten(2).transpose(1, 2)
    if "head.dist.weight" in tensors:
        tokens = tensors["class_token.weight"]
        split["class_token.weight"], split["distillation_token.weight"] = tokens.chunk(2, dim=1)
        for kind in ("weight", "bias"):
            split[f"head.cls.{kind}"] = split.pop(f"head.{kind}")
    return split


TIMM = Timm(
    PiT,
    rules=[
        (r"patch_embed\.conv\.(weight|bias)", r"patch_embed.\1"),
        (r"pos_embed", "position.weight"),
        (r"cls_token", "class_token.weight"),
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
    finish=[_split_tokens],
    pool="token",
)
