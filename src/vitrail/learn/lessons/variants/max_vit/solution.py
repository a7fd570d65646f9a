from torch import Tensor
from variants.windows import in_windows


def grid_partition(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """x (B, H, W, D), grid (h, w) -> (B * groups, h * w, D), groups of cells spread evenly"""
    B, H, W, D = x.shape
    h, w = grid
    # <write>
    # en: 1. Split both sides so that a group's cells are H / h rows and W / w columns apart.
    # zh: 1. 拆开高和宽，使同组的格子相隔 H / h 行、W / w 列。
    x = x.reshape(B, h, H // h, w, W // w, D)
    # en: 2. The numbers of the groups first: (B, H / h, W / w, h, w, D).
    # zh: 2. 组的编号在前：(B, H / h, W / w, h, w, D)。
    x = x.permute(0, 2, 4, 1, 3, 5)
    # en: 3. Groups as samples, cells as tokens.
    # zh: 3. 组并入 batch，格子成为 token。
    return x.reshape(-1, h * w, D)
    # </write>


def grid_reverse(groups: Tensor, grid: tuple[int, int], H: int, W: int) -> Tensor:
    """The inverse of grid_partition: (B * groups, h * w, D) -> (B, H, W, D)"""
    h, w = grid
    D = groups.shape[-1]
    # <write>
    # en: 4. All axes apart: (B, H / h, W / w, h, w, D).
    # zh: 4. 拆开各轴：(B, H / h, W / w, h, w, D)。
    x = groups.reshape(-1, H // h, W // w, h, w, D)
    # en: 5. Back to the order of step 1, and to a map.
    # zh: 5. 回到第 1 步的轴顺序，再合成特征图。
    return x.permute(0, 3, 1, 4, 2, 5).reshape(-1, H, W, D)
    # </write>


def multi_axis(x: Tensor, size: tuple[int, int], block_mix, grid_mix) -> Tensor:
    """MaxViT's two attentions, given as functions of groups. x (B, H, W, D) -> (B, H, W, D)"""
    # <write>
    # en: 6. Block attention: block_mix in windows of this size, added to x.
    # zh: 6. 块注意力：在这一大小的窗口内做 block_mix，加到 x 上。
    x = x + in_windows(x, size, block_mix)
    # en: 7. Grid attention: grid_mix in grids of this size, added to x.
    # zh: 7. 网格注意力：在这一大小的网格内做 grid_mix，加到 x 上。
    groups = grid_mix(grid_partition(x, size))
    return x + grid_reverse(groups, size, x.shape[1], x.shape[2])
    # </write>
