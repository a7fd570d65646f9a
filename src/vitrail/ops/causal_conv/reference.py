"""The causal convolution as a sum over the filter, in any precision."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def causal_conv_reference(
    x: Tensor, weight: Tensor, bias: Tensor, reverse: Sequence[bool]
) -> Tensor:
    """Depthwise causal convolution and SiLU, term by term; differentiable by autograd.

    Args:
        x: tokens (B, L, D).
        weight: filters (K, D, d_conv); the last entry is for the token itself.
        bias: (K, D).
        reverse: for each of K directions, whether it runs from the last token to the first.

    Returns:
        (K, B, L, D).

    Example:
        >>> x, weight = torch.ones(1, 3, 2), torch.ones(1, 2, 4)
        >>> causal_conv_reference(x, weight, torch.zeros(1, 2), [False]).shape
        torch.Size([1, 1, 3, 2])
    """
    d_conv, length = weight.shape[-1], x.shape[1]
    padded = F.pad(x, (0, 0, d_conv - 1, d_conv - 1))
    outputs = []
    for k, backwards in enumerate(reverse):
        total = bias[k]
        for i in range(d_conv):
            start = 2 * (d_conv - 1) - i if backwards else i
            total = total + weight[k, :, i] * padded[:, start : start + length]
        outputs.append(F.silu(total))
    return torch.stack(outputs)
