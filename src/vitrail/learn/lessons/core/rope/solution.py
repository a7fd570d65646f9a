import torch
from torch import Tensor


def rotate(x: Tensor, height: int, width: int, theta: float = 100.0) -> Tensor:
    """Queries or keys (B, heads, N, d) of a grid of N = height x width patches -> the same shape"""
    d = x.shape[-1]
    # <write>
    # en: 1. omega (d / 4,): the frequencies theta ** -(i / (d / 4)).
    # zh: 1. omega (d / 4,)：频率 theta ** -(i / (d / 4))。
    omega = theta ** -(torch.arange(d // 4, device=x.device, dtype=x.dtype) / (d // 4))
    # en: 2. Row and column of every patch, row by row: (N,).
    # zh: 2. 每个图像块的行号与列号，按行排列：(N,)。
    rows = torch.arange(height, device=x.device, dtype=x.dtype).repeat_interleave(width)
    columns = torch.arange(width, device=x.device, dtype=x.dtype).repeat(height)
    # en: 3. angles (N, d / 2): for half of the pairs by rows, for the other half by columns.
    # zh: 3. angles (N, d / 2)：前一半的对按行，后一半按列。
    angles = torch.cat([rows[:, None] * omega, columns[:, None] * omega], dim=1)
    cos, sin = angles.cos(), angles.sin()
    # en: 4. Neighbouring channels are pairs (a, b): rotate each by its angle.
    # zh: 4. 相邻通道为一对 (a, b)：各按自己的角度旋转。
    a, b = x[..., 0::2], x[..., 1::2]
    rotated = torch.stack([a * cos - b * sin, a * sin + b * cos], dim=-1)
    # en: 5. Put the pairs side by side again: (B, heads, N, d).
    # zh: 5. 把各对重新并排放好：(B, heads, N, d)。
    return rotated.flatten(-2)
    # </write>
