"""Initial values that the code of several papers has, beside `models.base.initialize`."""

import math

from torch import nn

from vitrail.layers.attention import Attention, CrossAttention
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed


def xavier_uniform_blocks(module: nn.Module) -> None:
    """Initializes attention and MLPs in place as big_vision does (google-research, models/vit.py).

    Every weight starts from Xavier's uniform distribution. The projections to queries, keys and
    values are matrices of their own there, so each third of `qkv` and each half of `kv` is drawn by
    itself. Biases start from 0 in attention and from a normal distribution with standard deviation
    1e-6 in MLPs.

    Args:
        module: a model, or a part of one; only its `Attention`, `CrossAttention` and `Mlp` change.

    Example:
        >>> mlp = Mlp(8, 8)
        >>> xavier_uniform_blocks(mlp)
        >>> bool(mlp.fc1.weight.abs().max() <= (6 / 16) ** 0.5)
        True
    """
    for submodule in module.modules():
        if isinstance(submodule, Mlp):
            for linear in (submodule.fc1, submodule.fc2):
                nn.init.xavier_uniform_(linear.weight)
                nn.init.normal_(linear.bias, std=1e-6)
        elif isinstance(submodule, Attention):
            _attention(submodule.qkv, 3, submodule.proj)
        elif isinstance(submodule, CrossAttention):
            _attention(submodule.q, 1, submodule.proj)
            _attention(submodule.kv, 2, submodule.proj)


def fan_out_convolutions(module: nn.Module) -> None:
    """Initializes 2-D convolutions in place: He's normal distribution by fan-out, biases 0.

    The standard deviation is √(2 / fan_out) with fan_out = kernel area · outputs / groups, as in
    the code of PVT v2, Twins, ScalableViT and SepViT (He et al. 2015,
    https://arxiv.org/abs/1502.01852).

    Args:
        module: a model, or a part of one; only its convolutions and patch embeddings change.

    Example:
        >>> conv = nn.Conv2d(4, 32, 1)
        >>> fan_out_convolutions(conv)
        >>> conv.bias.abs().sum().item(), bool(conv.weight.std() > 0.15)
        (0.0, True)
    """
    for conv in module.modules():
        if isinstance(conv, nn.Conv2d | PatchEmbed):
            groups = conv.groups if isinstance(conv, nn.Conv2d) else 1
            fan_out = len(conv.weight) * conv.weight[0, 0].numel() // groups
            nn.init.normal_(conv.weight, std=math.sqrt(2 / fan_out))
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)


def _attention(projection: nn.Linear, matrices: int, out: nn.Linear) -> None:
    for weight in (*projection.weight.chunk(matrices), out.weight):
        nn.init.xavier_uniform_(weight)
    for linear in (projection, out):
        if linear.bias is not None:
            nn.init.zeros_(linear.bias)
