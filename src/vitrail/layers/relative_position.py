"""Relative positions: a learned bias for every offset between two places."""

import torch
from torch import Tensor, nn


def relative_index(window: tuple[int, ...]) -> Tensor:
    """Which row of a table of offsets each pair of places uses: (n, n) for n places.

    Row (dy + h − 1) · (2 w − 1) + dx + w − 1 is for an offset (dy, dx) of the query from the key.
    """
    places = torch.cartesian_prod(*map(torch.arange, window)).reshape(-1, len(window))
    index = torch.zeros(len(places), len(places), dtype=torch.long)
    for axis, side in enumerate(window):
        offset = places[:, None, axis] - places[None, :, axis]
        index = index * (2 * side - 1) + offset + side - 1
    return index


class RelativeBias(nn.Module):
    """A bias on attention logits for each head and each offset within a window.

    Raffel et al. 2020 for sequences; in 2-D Bao et al. 2021 (BEiT), Liu et al. 2021 (Swin). The
    table (offsets, H) has Π (2 side − 1) rows.
    """

    def __init__(self, window: tuple[int, ...], heads: int) -> None:
        super().__init__()
        self.window = window
        offsets = torch.Size(2 * side - 1 for side in window).numel()
        self.bias_table = nn.Parameter(torch.empty(offsets, heads))
        self.register_buffer("index", relative_index(window), persistent=False)
        self.index: Tensor
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal with std 0.02."""
        nn.init.trunc_normal_(self.bias_table, std=0.02)

    def forward(self) -> Tensor:
        """The bias (H, n, n) for n places of the window, row by row."""
        n = len(self.index)
        return self.bias_table[self.index.flatten()].unflatten(0, (n, n)).permute(2, 0, 1)
