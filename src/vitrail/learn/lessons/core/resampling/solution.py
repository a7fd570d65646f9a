import torch
import torch.nn.functional as F
from torch import Tensor


def resample(table: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Positions (1, 1 + H * W, D) of a grid old = (H, W) -> (1, 1 + H' * W', D) of a grid new"""
    D = table.shape[-1]
    # <write>
    # en: 1. The class token's row apart: cls (1, 1, D), grid (1, H * W, D).
    # zh: 1. 分开分类 token 的一行：cls (1, 1, D)，grid (1, H * W, D)。
    cls, grid = table[:, :1], table[:, 1:]
    # en: 2. As an image with D channels: (1, D, H, W).
    # zh: 2. 还原成 D 通道的图：(1, D, H, W)。
    grid = grid.reshape(1, old[0], old[1], D).permute(0, 3, 1, 2)
    # en: 3. Bicubic resampling, without antialiasing: (1, D, H', W').
    # zh: 3. 双三次插值，不做抗锯齿：(1, D, H', W')。
    grid = F.interpolate(grid, size=new, mode="bicubic", align_corners=False)
    # en: 4. Rows again, and the class token in front.
    # zh: 4. 重新排成行，分类 token 放回最前面。
    grid = grid.flatten(2).transpose(1, 2)
    return torch.cat([cls, grid], dim=1)
    # </write>
