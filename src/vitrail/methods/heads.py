"""The projection head between a backbone's features and a loss on prototypes."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.layers.linear import Linear, linear
from vitrail.models.base import initialise


class Prototypes(nn.Module):
    """Cosine similarity with K learned directions: a linear layer whose rows have length 1.

    Weight normalisation (Salimans & Kingma 2016, https://arxiv.org/abs/1602.07868) with its gain
    fixed at 1, which DINO's authors advise for stability.
    """

    gain: Tensor

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_dim, dim))
        self.register_buffer("gain", torch.ones(out_dim, 1), persistent=False)
        self.frozen = False

    def reset_parameters(self) -> None:
        """As `nn.Linear` does. Of the lengths, only how fast directions turn depends on it."""
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) → (..., K), in −1 to 1 where x has length 1.

        While `frozen`, the gradient of the weight is 0. It is not absent, because data-parallel
        training waits for the gradients of all that required one at its start.
        """
        weight = self.weight.detach() + 0 * self.weight if self.frozen else self.weight
        return linear(x, torch._weight_norm(weight, self.gain, 0))


class ProjectionHead(nn.Module):
    """DINO's head: three layers with GELU, whose output has length 1, then prototypes."""

    def __init__(self, dim: int, hidden_dim: int, bottleneck: int, out_dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            Linear(dim, hidden_dim),
            nn.GELU(),
            Linear(hidden_dim, hidden_dim),
            nn.GELU(),
            Linear(hidden_dim, bottleneck),
        )
        self.last = Prototypes(bottleneck, out_dim)
        initialise(self)

    def forward(self, x: Tensor, temperature: float = 1.0) -> Tensor:
        """x (..., D) → (..., K), divided by the temperature where that is cheap: before K."""
        hidden = self.mlp(x)
        hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
        return self.last(F.normalize(hidden, dim=-1) / temperature)
