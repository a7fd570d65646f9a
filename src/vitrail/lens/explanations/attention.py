"""Raw attention of one layer."""

from torch import Tensor

from vitrail.lens.explanations.windows import is_windowed, received_attention
from vitrail.lens.layer_keys import select_position
from vitrail.lens.trace import trace_attention
from vitrail.models.base import Backbone


def layer_attention(model: Backbone, images: Tensor, layer: int = -1) -> Tensor:
    """Attention of one layer, the mean over heads.

    Where a layer attends over all tokens, it is the attention of the summary query (the class
    token, or the mean over patches) to each patch. Where it attends within windows, it is the
    attention that each cell of the layer's grid receives from its window.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).
        layer: position of the attention layer; negative ones count from the end.

    Returns:
        (B, *grid).

    Raises:
        ConfigError: there is no such layer.
        TierError: the model has no attention, or another pattern of it.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> layer_attention(model, torch.zeros(1, 3, 8, 8)).sum() < 1
        tensor(True)
    """
    if is_windowed(model):
        return received_attention(model, images, layer).mean(dim=1)
    maps = trace_attention(model, images).attention
    return maps[select_position(layer, len(maps))].mean(dim=1)
