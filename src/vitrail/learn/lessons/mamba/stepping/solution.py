import torch
import torch.nn.functional as F
from torch import Tensor

State = tuple[
    Tensor, Tensor
]  # the last K - 1 signals (B, K - 1, D), and the scan's state (B, D, N)


def step(
    state: State, x: Tensor, conv: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
) -> tuple[Tensor, State]:
    """x, delta (B, D), conv (D, K), A (D, N), B, C (B, N), D (D,) -> y (B, D), new state"""
    # <write>
    window, memory = state
    # en: 1. The window of the causal convolution: the last K - 1 signals and this one, (B, K, D).
    # zh: 1. 因果卷积的窗口：之前 K - 1 个信号加上当前信号，(B, K, D)。
    window = torch.cat([window, x[:, None]], dim=1)
    # en: 2. Its weighted sum, then SiLU; conv[:, -1] weighs the newest signal.
    # zh: 2. 加权求和，再过 SiLU；conv[:, -1] 对应最新的信号。
    u = F.silu((window * conv.T).sum(dim=1))
    # en: 3. One step of the scan, delta discretized by softplus.
    # zh: 3. 扫描走一步，步长为 softplus(delta)。
    size = F.softplus(delta)[..., None]
    memory = torch.exp(size * A) * memory + size * u[..., None] * B[:, None, :]
    # en: 4. Read, and add the skip connection.
    # zh: 4. 读出，加上跳连。
    y = (memory * C[:, None, :]).sum(dim=-1) + D * u
    # en: 5. Keep the last K - 1 signals for the next token.
    # zh: 5. 为下一个 token 保留最近 K - 1 个信号。
    return y, (window[:, 1:], memory)
    # </write>
