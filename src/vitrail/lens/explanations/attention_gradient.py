"""Attention × gradient of one layer."""

from torch import Tensor

from vitrail.lens.explanations.contributions import contributions
from vitrail.lens.explanations.windows import Windows, is_windowed, recorded_windows
from vitrail.lens.layer_keys import LayerKey, select_position
from vitrail.models.base import Backbone


def attention_gradient(
    model: Backbone, images: Tensor, target: Tensor | None = None, layer: int = -1
) -> Tensor:
    """Attention × gradient of one layer: the mean over heads of (A ⊙ ∂s/∂A)⁺ for a class's logit s.

    It is the last step of `relevance`, which goes through all layers (Chefer et al. 2021,
    https://arxiv.org/abs/2103.15679). Where a layer attends within windows, it is what each cell of
    the layer's grid contributes to all queries of its window.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).
        target: indices of classes (B,); None for the likeliest.
        layer: position of the attention layer; negative ones count from the end.

    Returns:
        (B, *grid), at least 0.

    Raises:
        ConfigError: there is no such layer.
        TierError: the model has no classes, or no attention over all tokens or within windows.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> attention_gradient(model, torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 2, 2])
    """
    if is_windowed(model):
        windows: dict[LayerKey, Windows] = {}
        with recorded_windows(model, windows):
            layers = contributions(model, images, target).layers
        position = select_position(layer, len(layers))
        return list(windows.values())[position].received(layers[position].unsqueeze(1)).squeeze(1)
    maps = contributions(model, images, target)
    maps.require_all_tokens("occlusion")
    weights = maps.layers[select_position(layer, len(maps.layers))]
    row = (maps.readout.unsqueeze(1) @ weights).squeeze(1)
    return row[:, maps.prefix :].unflatten(1, maps.grid)
