from torch import Tensor


def partition(x: Tensor, window: tuple[int, int]) -> Tensor:
    """x (B, H, W, D), window (h, w) -> (B * windows, h * w, D), all row by row"""
    B, H, W, D = x.shape
    h, w = window
    # <write>
    # en: 1. Split both sides: (B, H / h, h, W / w, w, D).
    # zh: 1. 拆开高和宽：(B, H / h, h, W / w, w, D)。
    x = x.reshape(B, H // h, h, W // w, w, D)
    # en: 2. The numbers of the windows before the cells in a window: (B, H / h, W / w, h, w, D).
    # zh: 2. 窗口编号在前，窗口内的格子在后：(B, H / h, W / w, h, w, D)。
    x = x.permute(0, 1, 3, 2, 4, 5)
    # en: 3. Windows become samples of the batch, cells become tokens: (B * windows, h * w, D).
    # zh: 3. 窗口并入 batch，格子成为 token：(B * windows, h * w, D)。
    return x.reshape(-1, h * w, D)
    # </write>


def reverse(windows: Tensor, window: tuple[int, int], H: int, W: int) -> Tensor:
    """The inverse of partition: (B * windows, h * w, D) -> (B, H, W, D)"""
    h, w = window
    D = windows.shape[-1]
    # <write>
    # en: 4. All axes apart: (B, H / h, W / w, h, w, D).
    # zh: 4. 把各个轴拆开：(B, H / h, W / w, h, w, D)。
    x = windows.reshape(-1, H // h, W // w, h, w, D)
    # en: 5. Rows beside rows, columns beside columns: (B, H / h, h, W / w, w, D).
    # zh: 5. 行与行相邻，列与列相邻：(B, H / h, h, W / w, w, D)。
    x = x.permute(0, 1, 3, 2, 4, 5)
    # en: 6. The map: (B, H, W, D).
    # zh: 6. 还原成特征图：(B, H, W, D)。
    return x.reshape(-1, H, W, D)
    # </write>


def in_windows(x: Tensor, window: tuple[int, int], mix) -> Tensor:
    """Applies mix to every window of a map. x (B, H, W, D) -> (B, H, W, D)"""
    windows = partition(x, window)
    windows = mix(windows)
    return reverse(windows, window, x.shape[1], x.shape[2])
