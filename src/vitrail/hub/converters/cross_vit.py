"""CrossViT's weights in timm."""

from typing import Any

from vitrail.errors import LoadError
from vitrail.hub.converters import Timm
from vitrail.hub.rename import fuse_kv
from vitrail.models.cross_vit import CrossViT

BLOCK = r"blocks\.(\d+)\."
FUSION = r"blocks.\1.fusions.\2."


def _same(name: str, values: Any) -> Any:
    """The value that all entries of one of timm's tuples have."""
    if len(set(values)) != 1:
        raise LoadError(f"timm's crossvit with {name}={values} is not supported: one for all.")
    return values[0]


def _depth(depth: Any) -> dict[str, Any]:
    small, large, cross = _same("depth", tuple(map(tuple, depth)))
    if cross:
        raise LoadError(f"timm's crossvit with depth={depth} is not supported: end each in 0.")
    return {"depth": len(depth), "branch_depth": (small, large)}


TIMM = Timm(
    CrossViT,
    rules=[
        (r"cls_token_([01])", r"scales.\1.class_token.weight"),
        (r"pos_embed_([01])", r"scales.\1.position.weight"),
        (r"patch_embed\.([01])\.proj\.(weight|bias)", r"scales.\1.patch_embed.\2"),
        (r"patch_embed\.([01])\.proj\.(\d\.(?:weight|bias))", r"scales.\1.patch_embed.\2"),
        (BLOCK + r"blocks\.([01])\.(\d+)\.attn\.(.*)", r"blocks.\1.branches.\2.\3.mixer.\4"),
        (BLOCK + r"blocks\.([01])\.(\d+)\.(.*)", r"blocks.\1.branches.\2.\3.\4"),
        (BLOCK + r"projs\.([01])\.(.*)", FUSION + r"project_in.\3"),
        (BLOCK + r"revert_projs\.([01])\.(.*)", FUSION + r"project_out.\3"),
        (BLOCK + r"fusion\.([01])\.norm1\.(.*)", FUSION + r"norm.\3"),
        (BLOCK + r"fusion\.([01])\.attn\.w?(.*)", FUSION + r"mixer.\3"),
        (r"norm\.([01])\.(weight|bias)", r"norm.\1.\2"),
        (r"head\.([01])\.(weight|bias)", r"head.scales.\1.\2"),
    ],
    arguments={
        "img_scale": lambda scales: {"scale": scales[1]},
        "embed_dim": "dim",
        "depth": _depth,
        "num_heads": lambda heads: {"heads": _same("num_heads", heads)},
        "mlp_ratio": lambda ratios: {"mlp_ratio": _same("mlp_ratio", ratios[:2])},
        "multi_conv": lambda conv: {"stem": "conv" if conv else "patch"},
    },
    finish=[fuse_kv],
    pool="token",
)
