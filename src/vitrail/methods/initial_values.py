"""Initial values that authors of pretraining methods give a new encoder."""

import torch
from torch import nn

from vitrail.layers.patch import PatchEmbed
from vitrail.layers.tokens import Token

STD = 0.02


def draw_from_xavier(module: nn.Module) -> None:
    """Draws linear layers and patch embeddings anew from Xavier's uniform distribution, as MAE's
    models_mae.py does. It leaves the bias of the patch embedding as PyTorch's convolution has it.

    Args:
        module: module whose parameters are changed.

    Example:
        >>> layer = nn.Linear(64, 64)
        >>> draw_from_xavier(layer)
        >>> bool(layer.weight.abs().max() <= (6 / 128) ** 0.5)
        True
    """
    for submodule in module.modules():
        if isinstance(submodule, nn.Linear):
            nn.init.xavier_uniform_(submodule.weight)
        elif isinstance(submodule, PatchEmbed):
            flat = submodule.weight.detach().flatten(1)
            nn.init.xavier_uniform_(flat)
            if submodule.bias is not None:
                bound = flat.shape[1] ** -0.5
                nn.init.uniform_(submodule.bias, -bound, bound)


@torch.no_grad()
def draw_narrowly(module: nn.Module) -> None:
    """Draws linear layers, patch embeddings and tokens anew, from a normal distribution that is cut
    off at one standard deviation, as BEiT's modeling_pretrain.py does.

    The standard deviation is 0.02 before the cut and 0.0108 after it. Layers that a model scales,
    as BEiT does by their depth, keep their scale.

    Args:
        module: module whose parameters are changed.

    Example:
        >>> layer = nn.Linear(64, 64)
        >>> _ = nn.init.normal_(layer.weight, std=0.02)
        >>> draw_narrowly(layer)
        >>> round(layer.weight.std().item(), 3)
        0.011
    """
    for submodule in module.modules():
        if isinstance(submodule, PatchEmbed):
            _draw_within(submodule.weight, STD)
            if submodule.bias is not None:
                nn.init.zeros_(submodule.bias)
        elif isinstance(submodule, Token) and submodule.std:
            _draw_within(submodule.weight, submodule.std)
        elif isinstance(submodule, nn.Linear):
            _draw_within(submodule.weight, submodule.weight.std().item())


def _draw_within(weight: torch.Tensor, std: float) -> None:
    nn.init.trunc_normal_(weight, std=std, a=-std, b=std)
