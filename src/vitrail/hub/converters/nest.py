"""NesT in timm."""

from vitrail.hub.converters import Timm
from vitrail.hub.rename import Tensors
from vitrail.layers.window import unpartition
from vitrail.models.base import Backbone
from vitrail.models.nest import Level, NesT

LEVEL, OURS = r"levels\.(\d+)\.", r"blocks.\1."


def _reorder(tensors: Tensors, model: Backbone) -> Tensors:
    """Orders positions row by row of the map, and the channels of attention's output by head.

    timm's positions are block by block, and its last projection reads the head as the faster index.
    """
    reordered = dict(tensors)
    for i, level in enumerate(model.blocks):
        assert isinstance(level, Level)
        grid = level.position.grid
        block = tuple(side // level.count for side in grid)
        name = f"blocks.{i}.position.weight"
        reordered[name] = unpartition(tensors[name][0], block, grid).flatten(1, 2)
        for j in range(len(level.blocks)):
            name = f"blocks.{i}.blocks.{j}.mixer.proj.weight"
            weight = tensors[name].unflatten(1, (-1, model.config["heads"][i]))
            reordered[name] = weight.transpose(1, 2).flatten(1)
    return reordered


TIMM = Timm(
    NesT,
    rules=[
        (r"patch_embed\.proj\.(weight|bias)", r"patch_embed.\1"),
        (LEVEL + r"pos_embed", OURS + "position.weight"),
        (LEVEL + r"pool\.((?:conv|norm)\..*)", OURS + r"downsample.\2"),
        (LEVEL + r"transformer_encoder\.(\d+)\.attn\.(.*)", OURS + r"blocks.\2.mixer.\3"),
        (
            LEVEL + r"transformer_encoder\.(\d+\.(?:norm1|norm2|mlp\.fc1|mlp\.fc2)\..*)",
            OURS + r"blocks.\2",
        ),
        (r"norm\.(weight|bias)", r"norm.\1"),
        (r"head\.(weight|bias)", r"head.\1"),
    ],
    arguments={
        "patch_size": "patch_size",
        "embed_dims": "dim",
        "depths": "depth",
        "num_heads": "heads",
        "mlp_ratio": "mlp_ratio",
    },
    finish=[_reorder],
)
