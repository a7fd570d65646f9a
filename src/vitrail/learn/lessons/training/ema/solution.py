import torch
from torch import Tensor


def ema_step(
    average: dict[str, Tensor],
    state: dict[str, Tensor],
    parameters: set[str],
    step: int,
    decay: float,
) -> dict[str, Tensor]:
    """Average, state of the model, names of parameters, steps so far, decay -> the new average"""
    # <write>
    # en: 1. The decay rises: (1 + step) / (10 + step), and at most `decay`.
    # zh: 1. 衰减率逐步升高：(1 + step) / (10 + step)，不超过 `decay`。
    d = min(decay, (1 + step) / (10 + step))
    new = {}
    # en: 2. Without a graph.
    # zh: 2. 不建计算图。
    with torch.no_grad():
        for name, value in state.items():
            # en: 3. Parameters are averaged, buffers copied.
            # zh: 3. 参数取平均，buffer 直接复制。
            if name in parameters:
                new[name] = d * average[name] + (1 - d) * value
            else:
                new[name] = value.clone()
    return new
    # </write>
