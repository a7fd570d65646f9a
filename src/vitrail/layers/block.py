"""The pre-norm residual block, with LayerScale and stochastic depth."""

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError


class LayerScale(nn.Module):
    """A learned factor for each channel of a residual branch, small at first.

    Touvron et al. 2021 (CaiT), https://arxiv.org/abs/2103.17239.
    """

    def __init__(self, dim: int, initial: float) -> None:
        super().__init__()
        self.initial = initial
        self.gamma = nn.Parameter(torch.empty(dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets every factor to its initial value."""
        nn.init.constant_(self.gamma, self.initial)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) → (..., D)."""
        return x * self.gamma


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016, https://arxiv.org/abs/1603.09382).

    In training, drops the whole branch of a sample with probability `rate` and scales the
    branches that remain by 1 / (1 − rate), so that the expectation stays.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ConfigError(f"drop_path={rate:g} is not within 0 and 1: try 0.1.")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """x (B, ...) → (B, ...)."""
        if not self.training or self.rate == 0.0:
            return x
        keep = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(1.0 - self.rate)
        return x * keep / (1.0 - self.rate)

    def extra_repr(self) -> str:
        """Shows the rate in the model's printout."""
        return f"rate={self.rate:.3g}"


def drop_path_rates(highest: float, depth: int) -> list[float]:
    """Rates that grow linearly with depth: 0 at the first block, `highest` at the last."""
    return [highest * i / max(depth - 1, 1) for i in range(depth)]


class Block(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x)). What mixes the tokens is the caller's module."""

    def __init__(
        self,
        dim: int,
        mixer: nn.Module,
        mlp: nn.Module,
        *,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
        norm_eps: float = 1e-6,
        norm_bias: bool = True,
    ) -> None:
        super().__init__()

        def scale() -> nn.Module:
            return nn.Identity() if layer_scale is None else LayerScale(dim, layer_scale)

        self.norm1 = nn.LayerNorm(dim, eps=norm_eps, bias=norm_bias)
        self.mixer = mixer
        self.scale1 = scale()
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps, bias=norm_bias)
        self.mlp = mlp
        self.scale2 = scale()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, *context: Tensor | tuple[Tensor, ...] | None) -> Tensor:
        """x (B, N, D) → (B, N, D). `context` is handed to the mixer: rotations, masks."""
        x = x + self.drop_path(self.scale1(self.mixer(self.norm1(x), *context)))
        return x + self.drop_path(self.scale2(self.mlp(self.norm2(x))))
