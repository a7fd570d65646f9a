"""The precision in which losses, logits and decays are computed."""

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Casts half precision to float32 and leaves float32 and float64 as they are.

    Args:
        x: any floating-point tensor.

    Returns:
        `x` itself, or a float32 copy of a bfloat16 or float16 tensor.

    Example:
        >>> at_least_float32(torch.zeros(1, dtype=torch.bfloat16)).dtype
        torch.float32
        >>> at_least_float32(torch.zeros(1, dtype=torch.float64)).dtype
        torch.float64
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
