"""Grad-CAM (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391)."""

from collections.abc import Callable

import torch
from torch import Tensor

from vitrail.errors import TierError
from vitrail.lens.explanations.base import require_classes, require_image_grid
from vitrail.lens.explanations.contributions import target_logits
from vitrail.models.base import Backbone
from vitrail.models.features import Features
from vitrail.models.tiers import SequenceBackbone


def grad_cam(
    model: Backbone, images: Tensor, target: Tensor | None = None, layer: int | None = None
) -> Tensor:
    """Grad-CAM: (Σ_d w_d F_d)⁺, where w is the gradient of the logit, averaged over the grid.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).
        target: indices of classes (B,); None for the likeliest.
        layer: index of the block, in a pyramid of the stage, whose features F are read; negative
            ones count from the end. None: the last one after which the logit reads patches, which
            with a class token is the last but one.

    Returns:
        (B, *grid), at least 0.

    Raises:
        ConfigError: there is no such block.
        TierError: the model has no classes, the block's features fill no grid, or the logit does
            not read its patches.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=2, heads=2, mlp_dim=8).eval()
        >>> grad_cam(model, torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 2, 2])
    """
    require_classes(model)
    images = images.detach().requires_grad_()  # also where all parameters are frozen
    with torch.enable_grad():
        to_features = _to_features(model, images)
        outputs: list[Tensor | Features] = []
        hooks = [
            block.register_forward_hook(lambda _, args, out: outputs.append(out))
            for block in model.blocks
        ]
        try:
            score = target_logits(model(images), target).sum()
        finally:
            for hook in hooks:
                hook.remove()
        tokens = [out.patches if isinstance(out, Features) else out for out in outputs]
        gradients = torch.autograd.grad(score, tokens, allow_unused=True)
    with torch.no_grad():
        indices = range(len(outputs))[::-1] if layer is None else model.block_indices([layer])
        for index in indices:
            gradient = gradients[index]
            if gradient is None:
                continue
            output = outputs[index]
            if isinstance(output, Features):
                features, gradient_features = output, output._replace(patches=gradient)
            else:
                features, gradient_features = to_features(output), to_features(gradient)
            require_image_grid(model, features)
            feature_map, gradient_map = features.to_map(), gradient_features.to_map()
            if gradient_map.any():
                axes = tuple(range(1, gradient_map.ndim - 1))
                weights = gradient_map.mean(dim=axes, keepdim=True)
                return (weights * feature_map).sum(dim=-1).clamp(min=0)
    if layer is None:
        kind = type(model).__name__
        raise TierError(f"the logit reads no patch after any block of this {kind}: use occlusion.")
    raise TierError(
        f"the logit reads no patch after block {layer}: choose an earlier one, or leave layer out."
    )


def _to_features(model: Backbone, images: Tensor) -> Callable[[Tensor], Features]:
    """A function from what a block returns to Features."""
    if isinstance(model, SequenceBackbone):
        with torch.no_grad():
            return model.to_sequence(model.embed(images)).to_features

    def refuse(tokens: Tensor) -> Features:
        raise TierError(
            f"the blocks of {type(model).__name__} return {tuple(tokens.shape)}, which is no grid "
            "of features: use integrated_gradients or occlusion."
        )

    return refuse
