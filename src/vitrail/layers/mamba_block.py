"""Residual layers of Mamba, one after the other or in pairs."""

from typing import Literal

import torch
from torch import Tensor, nn

from vitrail.layers.block import DropPath
from vitrail.layers.mamba import Mamba, MambaState
from vitrail.layers.position import Rotation, rotate

Rope = Literal["none", "branch", "residual"]


class MambaBranch(nn.Module):
    """The residual branch of a Mamba layer: Mamba(norm(x)), LayerScale, stochastic depth.

    Vision Mamba's RoPE rotates the tokens before every layer. Before the first the model does it;
    before any other it is done here, at the end of the layer before: the layer rotates what it
    gives for the *next* layer.

    Args:
        norm: norm of the input.
        mixer: the Mamba mixer.
        scale: `LayerScale` on the branch, or `nn.Identity`.
        drop_path: rate of stochastic depth.
        rope: what is rotated for the next layer: "none", the output of the "branch", or the
            "residual" too.

    Example:
        >>> branch = MambaBranch(nn.LayerNorm(8), Mamba(8), nn.Identity())
        >>> branch(torch.zeros(1, 5, 8), None, torch.arange(5)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(
        self,
        norm: nn.Module,
        mixer: Mamba,
        scale: nn.Module,
        drop_path: float = 0.0,
        rope: Rope = "none",
    ) -> None:
        super().__init__()
        self.norm = norm
        self.mixer = mixer
        self.scale = scale
        self.drop_path = DropPath(drop_path)
        self.rope = rope

    def forward(
        self, x: Tensor, rotation: Rotation | None, order: Tensor, reverse: bool = False
    ) -> Tensor:
        """The branch without the residual.

        Args:
            x: (B, L, D), the sequence.
            rotation: cosines and sines, each (L, D) or (B, L, D); None for no rotation.
            order: (L,), index of each token in [prefix, patches], for recorded weights.
            reverse: whether the mixer reads the sequence reversed.

        Returns:
            (B, L, D).
        """
        out = self.drop_path(self.scale(self.mixer(self.norm(x), reverse, order)))
        return out if rotation is None or self.rope == "none" else rotate(out, rotation)

    def residual(self, x: Tensor, rotation: Rotation | None) -> Tensor:
        """The residual that the branch is added to.

        Args:
            x: (B, L, D), the sequence.
            rotation: as in `forward`.

        Returns:
            `x`, rotated if `rope` is "residual".
        """
        return rotate(x, rotation) if rotation is not None and self.rope == "residual" else x


class MambaBlock(MambaBranch):
    """A residual Mamba layer: x + Mamba(norm(x)).

    With RoPE, branch and residual are rotated as in `MambaBranch`, whose arguments it has.

    Example:
        >>> block = MambaBlock(nn.LayerNorm(8), Mamba(8), nn.Identity())
        >>> block(torch.zeros(1, 5, 8), None, torch.arange(5)).shape
        torch.Size([1, 5, 8])
    """

    def forward(
        self, x: Tensor, rotation: Rotation | None, order: Tensor, reverse: bool = False
    ) -> Tensor:
        """x (B, L, D); rotation, order, reverse as in `MambaBranch` → (B, L, D)."""
        return self.residual(x, rotation) + super().forward(x, rotation, order, reverse)

    def step(
        self,
        x: Tensor,
        state: MambaState,
        rotation: Rotation | None,
        *,
        forward_only: bool = False,
    ) -> tuple[Tensor, MambaState]:
        """Applies the layer to one token.

        Args:
            x: (B, D), the token.
            state: state of the mixer after the token before.
            rotation: cosines and sines of the token, each (D,) or (B, D); None for no rotation.
            forward_only: as in `Mamba.step`.

        Returns:
            The output (B, D) and the state after this token.

        Raises:
            TierError: the mixer has two directions, and `forward_only` is False.
        """
        out, state = self.mixer.step(self.norm(x), state, forward_only=forward_only)
        out = self.scale(out)
        if rotation is not None and self.rope != "none":
            out = rotate(out, rotation)
        return self.residual(x, rotation) + out, state


class MambaPair(nn.Module):
    """Two Mamba layers side by side: x + first(x) + second(reversed x).

    Args:
        first: branch that reads the sequence, its `rope` holds for both.
        second: branch that reads the reversed sequence; None if `first` reads both.
        gate: whether the branches have factors α and 1 - α, with one learned α.

    Example:
        >>> first, second = (MambaBranch(nn.LayerNorm(8), Mamba(8), nn.Identity()) for _ in "ab")
        >>> MambaPair(first, second)(torch.zeros(1, 5, 8), None, torch.arange(5)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(
        self, first: MambaBranch, second: MambaBranch | None = None, gate: bool = False
    ) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.gate = nn.Parameter(torch.empty(1)) if gate else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets α to one half."""
        if self.gate is not None:
            nn.init.zeros_(self.gate)

    def forward(self, x: Tensor, rotation: Rotation | None, order: Tensor) -> Tensor:
        """x (B, L, D); rotation, order as in `MambaBranch` → (B, L, D)."""
        ahead = self.first(x, rotation, order)
        back = (self.second or self.first)(x, rotation, order, reverse=True)
        if self.gate is not None:
            alpha = self.gate.sigmoid()
            ahead, back = alpha * ahead, (1 - alpha) * back
        return self.residual(x, rotation) + ahead + back

    def residual(self, x: Tensor, rotation: Rotation | None) -> Tensor:
        """The residual that both branches are added to.

        Args:
            x: (B, L, D), the sequence.
            rotation: as in `MambaBranch`.

        Returns:
            (B, L, D).
        """
        return self.first.residual(x, rotation)
