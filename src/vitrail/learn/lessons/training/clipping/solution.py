import torch
from torch import Tensor


def clip(gradients: list[Tensor | None], max_norm: float) -> tuple[Tensor, list[Tensor | None]]:
    """Gradients of all parameters, largest norm -> norm before clipping (), clipped gradients"""
    # <write>
    # en: 1. Parameters without a gradient have no part in it.
    # zh: 1. 没有梯度的参数不参与计算。
    present = [g for g in gradients if g is not None]
    # en: 2. The norm of all numbers of all gradients together.
    # zh: 2. 所有梯度的所有数值合在一起的范数。
    norm = torch.stack([(g**2).sum() for g in present]).sum().sqrt()
    # en: 3. One factor, at most 1, with 1e-6 added to the norm.
    # zh: 3. 一个系数，不超过 1；分母的范数加上 1e-6。
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    # en: 4. New tensors; None stays None.
    # zh: 4. 返回新张量；None 仍为 None。
    return norm, [None if g is None else g * factor for g in gradients]
    # </write>
