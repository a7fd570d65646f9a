"""Relative positions: a learned attention bias per offset between query and key."""

import functools

import torch
from torch import Tensor, nn

from vitrail.layers.computed import register_computed
from vitrail.layers.tokens import draw_or_zero
from vitrail.ops.guard import guarded, guarded_forward
from vitrail.values import NonNegativeFloat, PositiveInt


@guarded
def relative_index(window: tuple[PositiveInt, ...]) -> Tensor:
    """Rows of a table of offsets, for each pair of positions in a window.

    In 2-D, row (dy + h - 1) · (2 w - 1) + dx + w - 1 belongs to the offset (dy, dx) of the query
    from the key.

    Args:
        window: sides of the window, (h, w) in 2-D.

    Returns:
        (n, n) int64 for the n positions of the window, query first.

    Example:
        >>> relative_index((2,))
        tensor([[1, 0],
                [2, 1]])
    """
    axes = [torch.arange(side) for side in window]
    coordinates = torch.cartesian_prod(*axes).reshape(-1, len(window))
    index = coordinates.new_zeros(len(coordinates), len(coordinates))
    for axis, side in enumerate(window):
        offset = coordinates[:, None, axis] - coordinates[None, :, axis]
        index = index * (2 * side - 1) + offset + side - 1
    return index


class RelativeBias(nn.Module):
    """Relative position bias: a number per head and offset, added to attention logits.

    Raffel et al. 2020 for sequences; in 2-D Bao et al. 2021 (BEiT), Liu et al. 2021 (Swin). The
    parameter `table` has shape (offsets, heads) with Π (2 side - 1) offsets. Weight decay spares
    it.

    Args:
        window: sides of the window.
        heads: number of attention heads.
        std: standard deviation of the truncated normal distribution that the table starts from;
            0 for zeros.

    Example:
        >>> RelativeBias((2, 2), heads=3)().shape
        torch.Size([3, 4, 4])
    """

    undecayed: tuple[str, ...] = ("table",)

    @guarded
    def __init__(
        self, window: tuple[PositiveInt, ...], heads: PositiveInt, std: NonNegativeFloat = 0.02
    ) -> None:
        super().__init__()
        self.window, self.std = window, std
        offsets = torch.Size(2 * side - 1 for side in window).numel()
        self.table = nn.Parameter(torch.empty(offsets, heads))
        register_computed(self, "index", functools.partial(relative_index, window))
        self.index: Tensor
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws from a truncated normal distribution with standard deviation `std`."""
        draw_or_zero(self.table, self.std)

    @guarded_forward
    def forward(self) -> Tensor:
        """Returns the bias (H, n, n) for the n positions of the window, row by row."""
        n = len(self.index)
        return self.table[self.index.flatten()].unflatten(0, (n, n)).permute(2, 0, 1)
