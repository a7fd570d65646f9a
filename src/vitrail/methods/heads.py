"""The projection head between a backbone's features and a loss on prototypes."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.layers.computed import register_computed
from vitrail.layers.dtypes import at_least_float32
from vitrail.layers.linear import Linear
from vitrail.models.parameters import initialize
from vitrail.ops.guard import guarded
from vitrail.ops.linear import product
from vitrail.values import PositiveFloat, PositiveInt


class Prototypes(nn.Module):
    """Cosine similarity with K learned directions: a linear layer with rows of length 1.

    It is weight normalization (Salimans & Kingma 2016, https://arxiv.org/abs/1602.07868) with a
    gain of 1, which DINO's authors advise for stability. While the attribute `frozen` is True, the
    gradients of its parameters are 0. They are not None, because data-parallel training waits for
    the gradient of every parameter that required one at the start.

    Args:
        dim: width D of the input.
        out_dim: number K of prototypes.
        fixed_length: whether the rows have length 1 throughout; False makes their lengths, which
            start from 1, a parameter `gain` (K, 1).

    Example:
        >>> similarity = Prototypes(4, 6)(nn.functional.normalize(torch.randn(3, 4), dim=-1))
        >>> similarity.shape, bool(similarity.abs().max() <= 1.00001)
        (torch.Size([3, 6]), True)
    """

    gain: Tensor

    @guarded
    def __init__(
        self, dim: PositiveInt, out_dim: PositiveInt, *, fixed_length: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_dim, dim))
        self.fixed_length = fixed_length
        if fixed_length:
            register_computed(self, "gain", functools.partial(torch.ones, out_dim, 1))
        else:
            self.register_parameter("gain", nn.Parameter(torch.empty(out_dim, 1)))
        self.frozen = False
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initializes as `nn.Linear` does; the scale only sets how fast directions turn."""
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)
        if not self.fixed_length:
            nn.init.ones_(self.gain)

    @guarded
    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) → (..., K), within -1 to 1 where x has length 1."""
        weight: Tensor = self.weight
        gain: Tensor = self.gain
        if self.frozen:
            weight, gain = weight.detach() + 0 * weight, gain.detach() + 0 * gain
        # private: the fused kernel holds one copy of the weight less than `F.normalize`, which
        # would compute the same; with 65,536 prototypes that is 64 MiB.
        return product(x, torch._weight_norm(weight, gain, 0).to(x))


class ProjectionHead(nn.Module):
    """DINO's projection head: three layers with GELU, a normalization to length 1, and prototypes.

    Args:
        dim: width D of the input.
        hidden_dim: width of the two hidden layers.
        bottleneck_dim: width of the normalized output of the MLP.
        out_dim: number K of prototypes.
        fixed_length: whether the rows of the prototypes have length 1 throughout.

    Example:
        >>> ProjectionHead(8, 16, 4, 32)(torch.zeros(2, 8)).shape
        torch.Size([2, 32])
    """

    @guarded
    def __init__(
        self,
        dim: PositiveInt,
        hidden_dim: PositiveInt,
        bottleneck_dim: PositiveInt,
        out_dim: PositiveInt,
        *,
        fixed_length: bool = True,
    ) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            Linear(dim, hidden_dim),
            nn.GELU(),
            Linear(hidden_dim, hidden_dim),
            nn.GELU(),
            Linear(hidden_dim, bottleneck_dim),
        )
        self.last = Prototypes(bottleneck_dim, out_dim, fixed_length=fixed_length)
        initialize(self)

    @guarded
    def forward(self, x: Tensor, temperature: PositiveFloat = 1.0) -> Tensor:
        """x (..., D) → logits (..., K), divided by the temperature before K, where it is cheap."""
        x = at_least_float32(self.mlp(x))
        return self.last(F.normalize(x, dim=-1) / temperature)
