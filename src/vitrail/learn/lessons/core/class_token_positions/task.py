"""`layers/tokens.py` holds the token, `layers/position.py` the table; `ViT.embed` adds them."""

import torch
from torch import Tensor, nn

from vitrail.layers.position import PositionTable
from vitrail.layers.tokens import Token
from vitrail.learn import Case, Claim, Task
from vitrail.learn.task import renamed


class LibraryTokens(nn.Module):
    """What `ViT.embed` does behind the patch embedding."""

    def __init__(self, num_patches: int, dim: int) -> None:
        super().__init__()
        self.token = Token(1, dim)
        self.table = PositionTable((num_patches,), dim, prefix=1)

    def forward(self, patches: Tensor) -> Tensor:
        table = self.table(self.table.grid)
        prefix = self.token(len(patches)) + table[:, :1]
        return torch.cat([prefix, patches + table[:, 1:]], dim=1)


def patches(*shape: int):
    return lambda: (torch.randn(shape),)


def initial_scale(tokens) -> list[float]:
    """Standard deviations of a large table and of a large token."""
    module = tokens(400, 256)
    large = tokens(1, 20_000)
    return [float(p.detach().std()) for p in (module.pos_embed, large.cls_token)]


TASK = Task(
    subject="Tokens",
    cases=(
        Case("B=1, N=4, D=6", patches(1, 4, 6), {"num_patches": 4, "dim": 6}),
        Case("B=3, N=7, D=5", patches(3, 7, 5), {"num_patches": 7, "dim": 5}),
        Case("B=2, N=1, D=4", patches(2, 1, 4), {"num_patches": 1, "dim": 4}),
    ),
    reference=LibraryTokens,
    weights=renamed(token__weight="cls_token", table__weight="pos_embed"),
    claims=(
        Claim(
            "The class token and the positions start as small numbers, with a standard deviation "
            "of 0.02: with 1 they would drown the patches.",
            "CLS token 和位置编码的初始值应很小，标准差为 0.02；若为 1，就会淹没图像块的信息。",
            initial_scale,
            tolerance=0.002,
        ),
    ),
)
