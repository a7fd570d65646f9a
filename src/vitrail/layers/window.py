"""Windows of a map: cutting it into them, putting them together, shifting them.

Windows that lie side by side are Swin's (Liu et al. 2021, https://arxiv.org/abs/2103.14030);
windows whose places are spread evenly over the map are MaxViT's grids (Tu et al. 2022,
https://arxiv.org/abs/2204.01697).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Window = tuple[int, ...]  # (rows, columns)


def partition(x: Tensor, window: Window, *, spread: bool = False) -> Tensor:
    """A map (B, H, W, D) → its windows (B · windows, h · w, D), row by row.

    `window` (h, w) divides (H, W). `spread`: a window takes every (H / h)-th row and (W / w)-th
    column instead of neighbours.
    """
    h, w = window
    if spread:
        x = x.unflatten(2, (w, -1)).unflatten(1, (h, -1))  # (B, h, rows, w, columns, D)
        return x.permute(0, 2, 4, 1, 3, 5).flatten(3, 4).flatten(0, 2)
    x = x.unflatten(2, (-1, w)).unflatten(1, (-1, h))  # (B, rows, h, columns, w, D)
    return x.transpose(2, 3).flatten(3, 4).flatten(0, 2)


def unpartition(
    windows: Tensor, window: Window, size: tuple[int, ...], *, spread: bool = False
) -> Tensor:
    """Windows (B · windows, h · w, D) → the map (B, *size, D): the inverse of `partition`."""
    rows, columns = size[0] // window[0], size[1] // window[1]
    x = windows.unflatten(1, window).unflatten(0, (-1, rows, columns))
    x = x.permute(0, 3, 1, 4, 2, 5) if spread else x.transpose(2, 3)
    return x.flatten(3, 4).flatten(1, 2)


def pad_to(x: Tensor, multiple: Window) -> Tensor:
    """A map (B, H, W, D) with zeros below and on the right, up to multiples of `multiple`."""
    below, right = (-side % m for side, m in zip(x.shape[1:3], multiple, strict=True))
    return F.pad(x, (0, 0, 0, right, 0, below)) if below or right else x


class WindowAttention(nn.Module):
    """Attention within each window of a map, or of one padded with zeros where they do not fit.

    `attention` takes windows (B · windows, h · w, D), and `bias`, if it is there, is a module whose
    output is added to the logits. `spread` is `partition`'s.
    """

    def __init__(
        self,
        attention: nn.Module,
        window: Window,
        *,
        spread: bool = False,
        bias: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.attention, self.bias = attention, bias
        self.window, self.spread = window, spread

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        height, width = x.shape[1:3]
        x = pad_to(x, self.window)
        size = x.shape[1:3]
        windows = partition(x, self.window, spread=self.spread)
        bias = {} if self.bias is None else {"bias": self.bias()}
        x = unpartition(self.attention(windows, **bias), self.window, size, spread=self.spread)
        return x[:, :height, :width]


def shift_mask(size: tuple[int, ...], window: Window, shift: Window) -> Tensor:
    """Which places of a shifted window were neighbours before: (windows, h · w, h · w).

    0 for those, -inf for those that a map of `size`, rolled by -shift, brought together from
    opposite edges. To be added to logits.
    """
    parts = []
    for side, w, s in zip(size, window, shift, strict=True):
        place = torch.arange(side)
        parts.append((place >= side - w).int() + (place >= side - s).int())
    regions = (3 * parts[0][:, None] + parts[1])[None, :, :, None]
    labels = partition(regions, window).squeeze(-1)
    apart = labels[:, :, None] != labels[:, None, :]
    return torch.zeros(apart.shape).masked_fill(apart, -torch.inf)
