import torch
from torch import Tensor


def positions(height: int, width: int, dim: int, temperature: float = 10_000.0) -> Tensor:
    """Grid of height x width patches -> (1, N, D) in float64"""
    # <write>
    # en: 1. omega (D / 4,): frequencies from 1 down to 1 / temperature, in float64.
    # zh: 1. omega (D / 4,)：频率从 1 降到 1 / temperature，float64。
    omega = temperature ** -torch.linspace(0, 1, dim // 4, dtype=torch.float64)
    # en: 2. Row and column of every patch, row by row: (N,).
    # zh: 2. 每个图像块的行号和列号，按行排列：(N,)。
    rows = torch.arange(height, dtype=torch.float64).repeat_interleave(width)
    columns = torch.arange(width, dtype=torch.float64).repeat(height)
    # en: 3. Angles (N, D / 4): position times frequency.
    # zh: 3. 角度 (N, D / 4)：位置乘以频率。
    x = columns[:, None] * omega
    y = rows[:, None] * omega
    # en: 4. sin x, cos x, sin y, cos y side by side, with an axis for the batch in front.
    # zh: 4. sin x、cos x、sin y、cos y 依次拼接，最前面加上 batch 维。
    return torch.cat([x.sin(), x.cos(), y.sin(), y.cos()], dim=1)[None]
    # </write>
