import torch
from torch import Tensor


def selective_scan(decay: Tensor, entered: Tensor, C: Tensor, D: Tensor, u: Tensor) -> Tensor:
    """decay, entered (B, L, D, N), C (B, L, N), D (D,), u (B, L, D) -> y (B, L, D)"""
    # <write>
    # en: 1. The state before the first token: zeros (B, D, N).
    # zh: 1. 第一个 token 之前的状态：全零 (B, D, N)。
    state = torch.zeros_like(entered[:, 0])
    outputs = []
    for t in range(u.shape[1]):
        # en: 2. Decay, then take the token in.
        # zh: 2. 先衰减，再写入当前 token。
        state = decay[:, t] * state + entered[:, t]
        # en: 3. Read the state by C: a sum over its N numbers, (B, D).
        # zh: 3. 用 C 读出状态：对 N 个状态加权求和，(B, D)。
        y = (state * C[:, t, None, :]).sum(dim=-1)
        # en: 4. The skip connection.
        # zh: 4. 跳连。
        outputs.append(y + D * u[:, t])
    return torch.stack(outputs, dim=1)
    # </write>
