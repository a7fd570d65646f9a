"""Norms. LayerNorm and RMSNorm here compute in the dtype of their input and return that of their
weights: a residual stream in float32 beside layers in half precision is not rounded before them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.ops.guard import guarded, guarded_forward
from vitrail.values import NonNegativeFloat, PositiveInt


class RMSNorm(nn.RMSNorm):
    """Root mean square norm, x / √mean(x²) · weight (Zhang & Sennrich 2019,
    https://arxiv.org/abs/1910.07467).

    Args:
        normalized_shape: width of the last axis.
        eps: added to the mean square; None for the smallest step of the input's dtype.

    Example:
        >>> RMSNorm(2, eps=0.0)(torch.tensor([[3.0, 4.0]])).square().mean().round()
        tensor(1., grad_fn=<RoundBackward0>)
    """

    @guarded
    def __init__(self, normalized_shape: PositiveInt, eps: NonNegativeFloat | None = None) -> None:
        super().__init__(normalized_shape, eps)

    @guarded_forward
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

    @guarded
    def __init__(self, normalized_shape: PositiveInt, eps: NonNegativeFloat = 1e-5) -> None:
        super().__init__(normalized_shape, eps)

    @guarded_forward
    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) → (..., D)."""
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps).to(self.weight.dtype)


class BatchNorm2d(nn.BatchNorm2d):
    """Batch norm (Ioffe & Szegedy 2015, https://arxiv.org/abs/1502.03167), in place on request.

    Args:
        num_features: number of channels.
        eps: added to the variance.

    Example:
        >>> x = torch.ones(1, 2, 3, 3)
        >>> with torch.no_grad():
        ...     BatchNorm2d(2).eval()(x, overwrite=True) is x
        True
    """

    @guarded
    def __init__(self, num_features: PositiveInt, eps: NonNegativeFloat = 1e-5) -> None:
        super().__init__(num_features, eps)

    @guarded_forward
    def forward(self, x: Tensor, overwrite: bool = False) -> Tensor:
        """x (B, C, H, W), overwrite: whether to write over x → the same shape.

        It is written over in evaluation, without gradients, on a CPU, in the dtype of the weights.
        """
        weight, mean, var = self.weight, self.running_mean, self.running_var
        learns = self.training or torch.is_grad_enabled()
        if learns or not overwrite or x.device.type != "cpu" or x.dtype != weight.dtype:
            return super().forward(x)
        empty = x.new_empty(0)  # for the batch's statistics, which evaluation does not compute
        torch.ops.aten.native_batch_norm.out(
            x, weight, self.bias, mean, var, False, 0.0, self.eps,
            out=x, save_mean=empty, save_invstd=empty,
        )  # fmt: skip
        return x
