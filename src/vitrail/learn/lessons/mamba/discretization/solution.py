import torch
import torch.nn.functional as F
from torch import Tensor


def discretize(
    delta: Tensor, bias: Tensor, A_log: Tensor, B: Tensor, u: Tensor
) -> tuple[Tensor, Tensor]:
    """delta, u (B, L, D), bias (D,), A_log (D, N), B (B, L, N) -> decay, input: (B, L, D, N)"""
    # <write>
    # en: 1. Step sizes, positive by softplus: (B, L, D).
    # zh: 1. 步长，用 softplus 保证为正：(B, L, D)。
    step = F.softplus(delta + bias)
    # en: 2. A is negative, so that states decay: (D, N).
    # zh: 2. A 为负，状态才会衰减：(D, N)。
    A = -torch.exp(A_log)
    # en: 3. How much of each state is left after a step: exp(step · A), (B, L, D, N).
    # zh: 3. 每一步之后状态还剩多少：exp(step · A)，(B, L, D, N)。
    decay = torch.exp(step[..., None] * A)
    # en: 4. What enters each state: step · B · u, (B, L, D, N).
    # zh: 4. 写入每个状态的量：step · B · u，(B, L, D, N)。
    entered = (step * u)[..., None] * B[:, :, None, :]
    return decay, entered
    # </write>
