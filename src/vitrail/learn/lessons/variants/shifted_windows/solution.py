import torch
from torch import Tensor
from variants.windows import partition, reverse


def shift_mask(H: int, W: int, window: tuple[int, int], shift: tuple[int, int]) -> Tensor:
    """(windows, n, n) for the n cells of a window, in the rolled map.

    0 for two cells that were neighbours before the roll, -inf for two that it brought together.
    """
    # <write>
    # en: 1. Which rows, and which columns, came round from the other edge: (H,) and (W,).
    # zh: 1. 哪些行、哪些列是从另一侧绕过来的：(H,) 与 (W,)。
    rows = (torch.arange(H) >= H - shift[0]).int()
    columns = (torch.arange(W) >= W - shift[1]).int()
    # en: 2. A number for each of the four kinds of cells: region (H, W).
    # zh: 2. 四类格子各用一个数表示：region (H, W)。
    region = 2 * rows[:, None] + columns
    # en: 3. The numbers in windows: labels (windows, n).
    # zh: 3. 把这些数划分到窗口里：labels (windows, n)。
    labels = partition(region[None, :, :, None], window)[..., 0]
    # en: 4. Pairs with two different numbers must not attend to each other.
    # zh: 4. 数不同的两个格子不能互相关注。
    separate = labels[:, :, None] != labels[:, None, :]
    return torch.zeros(separate.shape).masked_fill(separate, float("-inf"))
    # </write>


def shifted(x: Tensor, window: tuple[int, int], shift: tuple[int, int], attend) -> Tensor:
    """Attention in shifted windows. x (B, H, W, D) -> (B, H, W, D)

    attend(windows, mask) is given: (B * windows, n, D) and (windows, n, n) -> (B * windows, n, D)
    """
    H, W = x.shape[1:3]
    # <write>
    # en: 5. Roll the map up and to the left by the shift.
    # zh: 5. 特征图向上、向左滚动 shift。
    x = x.roll((-shift[0], -shift[1]), dims=(1, 2))
    # en: 6. Windows, and attention with the mask (device and dtype of x).
    # zh: 6. 划分窗口，带掩码做注意力（掩码的设备和类型与 x 一致）。
    windows = partition(x, window)
    mask = shift_mask(H, W, window, shift).to(x)
    windows = attend(windows, mask)
    # en: 7. Back to a map, and roll it back.
    # zh: 7. 还原成特征图，再滚动回去。
    x = reverse(windows, window, H, W)
    return x.roll(shift, dims=(1, 2))
    # </write>
