import torch
from torch import Tensor


def parallel_scan(decay: Tensor, entered: Tensor) -> Tensor:
    """decay, entered (B, L, D) -> all states h[t] = decay[t] h[t-1] + entered[t], (B, L, D)"""
    # <write>
    length, distance = decay.shape[1], 1
    # en: Each round joins every step with the one `distance` before it; then distance doubles.
    # zh: 每一轮把每一步与它前面第 distance 步合并，然后 distance 翻倍。
    while distance < length:
        # en: 1. The steps that lie `distance` earlier. Before the first: decay 1, entered 0.
        # zh: 1. 往前 distance 步的值；序列开头之前取 decay = 1，entered = 0。
        ones = torch.ones_like(decay[:, :distance])
        zeros = torch.zeros_like(entered[:, :distance])
        earlier_decay = torch.cat([ones, decay[:, :-distance]], dim=1)
        earlier_entered = torch.cat([zeros, entered[:, :-distance]], dim=1)
        # en: 2. Join (a1, b1) and the later (a2, b2): (a2 a1, a2 b1 + b2).
        # zh: 2. 合并较早的 (a1, b1) 与较晚的 (a2, b2)：(a2 a1, a2 b1 + b2)。
        entered = decay * earlier_entered + entered
        decay = decay * earlier_decay
        # en: 3. Each step now covers twice as many tokens.
        # zh: 3. 现在每一步覆盖的 token 数翻倍。
        distance = distance * 2
    return entered
    # </write>
