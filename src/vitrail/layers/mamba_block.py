"""Layers of Mamba on a residual stream, one after the other or in pairs."""

import torch
from torch import Tensor, nn

from vitrail.layers.block import DropPath
from vitrail.layers.position import Rotation, rotate
from vitrail.layers.mamba import Mamba


class MambaBlock(nn.Module):
    """x + Mamba(norm(x)); with `rotation`, what is added (and x, if `turns`) turns with its place.

    The rotation of the tokens before every layer but the first belongs to the layer before it.
    """

    def __init__(
        self, norm: nn.Module, mixer: Mamba, scale: nn.Module, drop_path: float, turns: str
    ) -> None:
        super().__init__()
        self.norm, self.mixer, self.scale = norm, mixer, scale
        self.drop_path = DropPath(drop_path)
        self.turns = turns  # "none", "branch" or "both"

    def branch(self, x: Tensor, rotation: Rotation | None, order: Tensor, reverse: bool) -> Tensor:
        """What the layer adds to x (B, L, D)."""
        out = self.drop_path(self.scale(self.mixer(self.norm(x), reverse, order)))
        return out if rotation is None or self.turns == "none" else rotate(out, rotation)

    def stream(self, x: Tensor, rotation: Rotation | None) -> Tensor:
        """What the layer adds to."""
        return rotate(x, rotation) if rotation is not None and self.turns == "both" else x

    def forward(self, x: Tensor, rotation: Rotation | None, order: Tensor) -> Tensor:
        """x (B, L, D) → (B, L, D). order (L,): where each token is in [prefix, patches]."""
        return self.stream(x, rotation) + self.branch(x, rotation, order, reverse=False)


class PairedBlocks(nn.Module):
    """Two layers side by side: one on the sequence, one on its reverse, both added to x.

    `gate`: α and 1 − α of them, α learned. `shared`: one layer serves both ways. `doubled`: adds to
    2 x, as the official loop does, which counts its residual twice.
    """

    def __init__(self, ahead: MambaBlock, back: MambaBlock | None, gate: bool, doubled: bool):
        super().__init__()
        self.ahead, self.back = ahead, back
        self.gate = nn.Parameter(torch.zeros(1)) if gate else None
        self.doubled = doubled

    def reset_parameters(self) -> None:
        """Both ways count the same."""
        if self.gate is not None:
            nn.init.zeros_(self.gate)

    def forward(self, x: Tensor, rotation: Rotation | None, order: Tensor) -> Tensor:
        """As `MambaBlock`."""
        ahead = self.ahead.branch(x, rotation, order, reverse=False)
        back = (self.back or self.ahead).branch(x, rotation, order, reverse=True)
        if self.gate is not None:
            alpha = self.gate.sigmoid()
            ahead, back = alpha * ahead, (1 - alpha) * back
        stream = self.ahead.stream(x, rotation)
        return (2 * stream if self.doubled else stream) + ahead + back
