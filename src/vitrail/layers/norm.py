"""Norms that compute in the dtype of their input and return the dtype of their weights.

A residual stream in float32 beside layers in half precision passes through them without rounding.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.RMSNorm):
    """Root mean square norm, x / √mean(x²) · weight (Zhang & Sennrich 2019,
    https://arxiv.org/abs/1910.07467).

    Args:
        normalized_shape: width of the last axis.
        eps: added to the mean square.

    Example:
        >>> RMSNorm(2, eps=0.0)(torch.tensor([[3.0, 4.0]])).square().mean().round()
        tensor(1., grad_fn=<RoundBackward0>)
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) → (..., D)."""
        out = F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)
        return out.to(self.weight.dtype)


class LayerNorm(nn.LayerNorm):
    """Layer norm, (x - mean) / std · weight + bias (Ba et al. 2016,
    https://arxiv.org/abs/1607.06450).

    Args:
        normalized_shape: width of the last axis.
        eps: added to the variance.

    Example:
        >>> LayerNorm(2, eps=0.0)(torch.tensor([[3.0, 5.0]])).tolist()
        [[-1.0, 1.0]]
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) → (..., D)."""
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps).to(self.weight.dtype)
