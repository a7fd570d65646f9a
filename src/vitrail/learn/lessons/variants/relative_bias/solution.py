import torch
from torch import Tensor, nn


class RelativeBias(nn.Module):
    def __init__(self, window: tuple[int, int], heads: int) -> None:
        super().__init__()
        h, w = window
        # <write>
        # en: 1. self.table: a parameter with a row per offset, a column per head, zeros.
        # zh: 1. self.table：参数，每种偏移一行，每个头一列，初始为 0。
        self.table = nn.Parameter(torch.zeros((2 * h - 1) * (2 * w - 1), heads))
        # en: 2. Row and column of each of the n = h * w cells, counted row by row: (n,).
        # zh: 2. n = h * w 个格子（按行编号）各自的行号与列号：(n,)。
        cells = torch.arange(h * w)
        rows, columns = cells // w, cells % w
        # en: 3. Offsets of query (first axis) from key, moved so that the least is 0: (n, n).
        # zh: 3. query（第一维）相对 key 的偏移，平移到最小为 0：(n, n)。
        dy = rows[:, None] - rows[None, :] + h - 1
        dx = columns[:, None] - columns[None, :] + w - 1
        # en: 4. The row of the table for each pair (n, n), a buffer, which follows the device.
        # zh: 4. 每一对格子对应表的哪一行：(n, n)。注册为 buffer，以便随模块换设备。
        self.register_buffer("index", dy * (2 * w - 1) + dx, persistent=False)
        # </write>

    def forward(self) -> Tensor:
        """The bias of all pairs of cells: (heads, n, n)"""
        # <write>
        # en: 5. Look the rows up: (n, n, heads). Heads first: (heads, n, n).
        # zh: 5. 查表：(n, n, heads)，再把头移到最前：(heads, n, n)。
        return self.table[self.index].permute(2, 0, 1)
        # </write>
