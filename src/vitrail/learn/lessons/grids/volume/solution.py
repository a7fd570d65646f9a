import torch
import torch.nn.functional as F
from torch import Tensor


def volume_positions(
    depth: int, height: int, width: int, dim: int, temperature: float = 10_000.0
) -> Tensor:
    """Grid of depth x height x width patches -> (1, N, D) in float64"""
    # <write>
    # en: 1. The coordinates of every patch, in the order of the tokens: (N,) each.
    # zh: 1. 每个 patch 的坐标，按 token 的顺序排列：各为 (N,)。
    sides = [torch.arange(side, dtype=torch.float64) for side in (depth, height, width)]
    z, y, x = (axis.flatten() for axis in torch.meshgrid(*sides, indexing="ij"))
    # en: 2. D // 6 frequencies, from 1 to 1 / temperature.
    # zh: 2. D // 6 个频率，从 1 到 1 / temperature。
    omega = temperature ** -torch.linspace(0, 1, dim // 6, dtype=torch.float64)
    # en: 3. Sine and cosine of x, then of y, then of z: (N, 6 * (D // 6)).
    # zh: 3. 依次是 x、y、z 的正弦和余弦：(N, 6 * (D // 6))。
    parts = []
    for axis in (x, y, z):
        angles = axis[:, None] * omega
        parts += [angles.sin(), angles.cos()]
    table = torch.cat(parts, dim=1)
    # en: 4. Zeros in the channels that are left over; an axis for the batch in front.
    # zh: 4. 余下的通道补 0；最前面加上 batch 维。
    return F.pad(table, (0, dim - table.shape[1]))[None]
    # </write>
