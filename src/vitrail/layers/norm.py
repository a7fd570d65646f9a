"""Norms that compute in the precision of what they are given, and give that of their weights.

A residual stream kept in float32 beside layers in half precision passes through them exactly.
"""

import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.RMSNorm):
    """x / √mean(x²) · weight (Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467)."""

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) → (..., D)."""
        out = F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)
        return out.to(self.weight.dtype)


class LayerNorm(nn.LayerNorm):
    """(x − mean) / deviation · weight + bias (Ba et al. 2016, https://arxiv.org/abs/1607.06450)."""

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) → (..., D)."""
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps).to(self.weight.dtype)
