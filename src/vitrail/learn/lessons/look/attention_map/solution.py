import torch
import torch.nn.functional as F
from torch import Tensor


def attention_maps(
    weights: Tensor, grid: tuple[int, int], size: tuple[int, int], fuse: str = "mean"
) -> Tensor:
    """Attention (B, heads, N + 1, N + 1), grid (rows, columns), pixels (H, W), fuse "mean" or "max"
    -> (B, heads + 1, H, W): a map per head, and behind them the fused one
    """
    # <write>
    # en: 1. What the class token (token 0) takes from each patch: (B, heads, N).
    # zh: 1. 分类 token（第 0 个）从每个 patch 取多少：(B, heads, N)。
    row = weights[:, :, 0, 1:]
    # en: 2. Patches stand row by row: (B, heads, rows, columns).
    # zh: 2. patch 是按行排列的：(B, heads, rows, columns)。
    maps = row.unflatten(2, grid)
    # en: 3. One map of all heads, their mean or their maximum: (B, 1, rows, columns).
    # zh: 3. 把各头合成一张图，取平均或最大值：(B, 1, rows, columns)。
    if fuse == "max":
        fused = maps.amax(dim=1, keepdim=True)
    else:
        fused = maps.mean(dim=1, keepdim=True)
    # en: 4. Behind the maps of the heads.
    # zh: 4. 放在各头的图之后。
    maps = torch.cat([maps, fused], dim=1)
    # en: 5. Enlarged to the pixels: bilinear, align_corners=False.
    # zh: 5. 放大到像素尺寸：双线性插值，align_corners=False。
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    # </write>
