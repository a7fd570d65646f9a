"""Windows of a feature map: partitioning, merging, shifting.

Windows of neighboring cells are Swin's (Liu et al. 2021, https://arxiv.org/abs/2103.14030);
windows whose cells are spread evenly over the map are MaxViT's grid attention (Tu et al. 2022,
https://arxiv.org/abs/2204.01697).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.ops.guard import guarded, guarded_forward
from vitrail.values import NonNegativeInt, PositiveInt

Window = tuple[PositiveInt, ...]  # (rows, columns)


@guarded
def partition(x: Tensor, window: Window, *, spread: bool = False) -> Tensor:
    """Partitions a feature map into windows.

    Args:
        x: (B, H, W, D).
        window: (h, w), rows and columns of a window, divisors of H and W.
        spread: whether a window holds every (H / h)-th row and (W / w)-th column, instead of
            neighboring cells.

    Returns:
        (B · windows, h · w, D), windows and their cells row by row.

    Example:
        >>> partition(torch.arange(16).view(1, 4, 4, 1), (2, 2))[0].flatten()
        tensor([0, 1, 4, 5])
        >>> partition(torch.arange(16).view(1, 4, 4, 1), (2, 2), spread=True)[0].flatten()
        tensor([ 0,  2,  8, 10])
    """
    h, w = window
    if spread:
        x = x.unflatten(2, (w, -1)).unflatten(1, (h, -1))  # (B, h, rows, w, columns, D)
        return x.permute(0, 2, 4, 1, 3, 5).flatten(3, 4).flatten(0, 2)
    x = x.unflatten(2, (-1, w)).unflatten(1, (-1, h))  # (B, rows, h, columns, w, D)
    return x.transpose(2, 3).flatten(3, 4).flatten(0, 2)


@guarded
def unpartition(
    windows: Tensor, window: Window, size: tuple[PositiveInt, ...], *, spread: bool = False
) -> Tensor:
    """Merges windows into the feature map that `partition` cut them from.

    Args:
        windows: (B · windows, h · w, D).
        window: (h, w).
        size: (H, W) of the map.
        spread: as in `partition`.

    Returns:
        (B, H, W, D).

    Example:
        >>> x = torch.randn(2, 4, 6, 8)
        >>> torch.equal(unpartition(partition(x, (2, 3)), (2, 3), (4, 6)), x)
        True
    """
    rows, columns = size[0] // window[0], size[1] // window[1]
    x = windows.unflatten(1, window).unflatten(0, (-1, rows, columns))
    x = x.permute(0, 3, 1, 4, 2, 5) if spread else x.transpose(2, 3)
    return x.flatten(3, 4).flatten(1, 2)


@guarded
def pad_to(x: Tensor, multiple: Window) -> Tensor:
    """Pads a feature map with zeros at the bottom and on the right.

    Args:
        x: (B, H, W, D).
        multiple: (h, w), of which the padded height and width are multiples.

    Returns:
        The smallest such map; `x` itself if its size is a multiple already.

    Example:
        >>> pad_to(torch.zeros(1, 5, 6, 8), (4, 3)).shape
        torch.Size([1, 8, 6, 8])
    """
    bottom, right = (-side % m for side, m in zip(x.shape[1:3], multiple, strict=True))
    return F.pad(x, (0, 0, 0, right, 0, bottom)) if bottom or right else x


@guarded
def numbered_cells(size: tuple[PositiveInt, ...], multiple: Window) -> Tensor:
    """A feature map that holds the numbers of its cells, padded as `pad_to` pads.

    Args:
        size: (H, W) of the map.
        multiple: (h, w), of which the padded height and width are multiples.

    Returns:
        (1, H', W', 1), numbers from 1, row by row, and 0 for padding.

    Example:
        >>> numbered_cells((1, 3), (1, 2)).flatten()
        tensor([1, 2, 3, 0])
    """
    return pad_to(torch.arange(1, size[0] * size[1] + 1).view(1, *size, 1), multiple)


class WindowAttention(nn.Module):
    """Attention within each window of a feature map.

    A map that windows do not divide is padded with zeros, and cropped again.

    Args:
        attention: module from windows (B · windows, h · w, D) to the same shape.
        window: (h, w).
        spread: as in `partition`.
        bias: module called without arguments, whose output (heads, h · w, h · w) `attention`
            receives as `bias`; None for no bias.

    Example:
        >>> from vitrail.layers.attention import Attention
        >>> WindowAttention(Attention(8, heads=2), (2, 2))(torch.zeros(1, 5, 4, 8)).shape
        torch.Size([1, 5, 4, 8])
    """

    @guarded
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

    @property
    def last_linear(self) -> nn.Linear | None:
        """The linear layer whose output, after dropout, is the module's; None if unknown."""
        return getattr(self.attention, "last_linear", None)

    def cell_index(self, size: tuple[PositiveInt, ...]) -> Tensor:
        """size (H, W) of a map → (windows, h · w), the cell of each token, -1 for padding."""
        cells = numbered_cells(size, self.window)
        return partition(cells, self.window, spread=self.spread)[..., 0] - 1

    @guarded_forward
    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        height, width = x.shape[1:3]
        x = pad_to(x, self.window)
        size = x.shape[1:3]
        windows = partition(x, self.window, spread=self.spread)
        bias = {} if self.bias is None else {"bias": self.bias()}
        x = unpartition(self.attention(windows, **bias), self.window, size, spread=self.spread)
        return x[:, :height, :width]


@guarded
def shift_mask(
    size: tuple[PositiveInt, ...],
    window: Window,
    shift: tuple[NonNegativeInt, ...],
) -> Tensor:
    """Mask of Swin's shifted windows, for a map that was rolled by `-shift`.

    Args:
        size: (H, W) of the map.
        window: (h, w), divisors of H and W.
        shift: rows and columns by which the map was rolled.

    Returns:
        (windows, h · w, h · w), to be added to the logits: 0 for two cells that were neighbors
        before, -inf for two that rolling brought together from opposite edges.

    Example:
        >>> shift_mask((2, 2), (2, 2), (1, 0))[0, 0].tolist()
        [0.0, 0.0, -inf, -inf]
    """
    regions = []
    for side, w, s in zip(size, window, shift, strict=True):
        index = torch.arange(side)
        regions.append((index >= side - w).int() + (index >= side - s).int())
    region = (3 * regions[0][:, None] + regions[1])[None, :, :, None]
    labels = partition(region, window).squeeze(-1)
    separate = labels[:, :, None] != labels[:, None, :]
    return torch.zeros(separate.shape).masked_fill(separate, -torch.inf)
