"""Residual layers of Mamba, one after the other or in pairs."""

from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from vitrail.errors import TierError
from vitrail.layers.block import DropPath, LayerScale
from vitrail.layers.inference_params import InferenceParams
from vitrail.layers.linear import Linear, scale_outputs
from vitrail.layers.mamba import Mamba
from vitrail.layers.position import Rotation, rotate
from vitrail.ops.guard import guarded, guarded_forward
from vitrail.values import Rate

Rope = Literal["none", "branch", "residual"]
PairFusion = Literal["sum", "gate", "concat"]


class TwoStreamLayer(Protocol):
    """How the official code calls a layer, which `MambaBranch.add_norm_mix` describes.

    Example:
        >>> branch = MambaBranch(nn.LayerNorm(8), Mamba(8), nn.Identity())
        >>> layer: TwoStreamLayer = branch.add_norm_mix
        >>> hidden_states, residual = layer(torch.zeros(1, 5, 8))
        >>> hidden_states.shape, residual.shape
        (torch.Size([1, 5, 8]), torch.Size([1, 5, 8]))
    """

    def __call__(
        self,
        hidden_states: Tensor,
        residual: Tensor | None = None,
        inference_params: InferenceParams | None = None,
    ) -> tuple[Tensor, Tensor]:
        """hidden_states, residual (B, L, D), a cache or None → both after the layer."""


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
        >>> branch(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    @guarded
    def __init__(
        self,
        norm: nn.Module,
        mixer: Mamba,
        scale: nn.Module,
        drop_path: Rate = 0.0,
        rope: Rope = "none",
    ) -> None:
        super().__init__()
        self.norm = norm
        self.mixer = mixer
        self.scale = scale
        self.drop_path = DropPath(drop_path)
        self.rope = rope

    @guarded_forward
    def forward(
        self,
        x: Tensor,
        residual: Tensor | None = None,
        rotation: Rotation | None = None,
        order: Tensor | None = None,
        inference_params: InferenceParams | None = None,
        reverse: bool = False,
    ) -> Tensor:
        """The branch alone.

        Args:
            x: (B, L, D), the sequence.
            residual: (B, L, D), a second stream, which is added to `x` before the norm; None where
                `x` is the whole.
            rotation: cosines and sines, each (L, D) or (B, L, D); None for no rotation.
            order: (L,), index of each token in [prefix, patches], for recorded weights; None for
                the order of `x`.
            inference_params: cache of a sequence that is read part by part, as in `Mamba`.
            reverse: whether the mixer reads the sequence reversed.

        Returns:
            (B, L, D).
        """
        x = x if residual is None else x + residual
        out = self.mixer(self.norm(x), reverse, order, inference_params)
        out = self.drop_path(self.scale(out))
        return out if rotation is None or self.rope == "none" else rotate(out, rotation)

    def add_norm_mix(
        self,
        hidden_states: Tensor,
        residual: Tensor | None = None,
        inference_params: InferenceParams | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The layer as the official code calls it, with two streams: add, norm, mixer.

        The sum of the two streams after the last layer is what `MambaBlock`s give. The official
        code drops paths of `hidden_states` before the sum, here the output is dropped.

        Args:
            hidden_states: (B, L, D), the output of the layer before.
            residual: (B, L, D), the sum of all outputs before that one; None for the first layer.
            inference_params: cache of a sequence that is read part by part, as in `Mamba`.

        Returns:
            The output of the branch, and the residual with `hidden_states` added.
        """
        residual = hidden_states if residual is None else residual + hidden_states
        # A `MambaBlock` would add the residual to its own output.
        return MambaBranch.forward(self, residual, inference_params=inference_params), residual

    def residual(self, x: Tensor, rotation: Rotation | None) -> Tensor:
        """The residual that the branch is added to.

        Args:
            x: (B, L, D), the sequence.
            rotation: as in `forward`.

        Returns:
            `x`, rotated if `rope` is "residual".
        """
        return rotate(x, rotation) if rotation is not None and self.rope == "residual" else x

    def fuse_for_inference(self) -> None:
        """Multiplies the LayerScale into the mixer's projection out, for evaluation."""
        if isinstance(self.scale, LayerScale):
            scale_outputs(self.mixer.last_linear, self.scale.gamma)
            self.scale = nn.Identity()


class MambaBlock(MambaBranch):
    """A residual Mamba layer: x + Mamba(norm(x)).

    With RoPE, branch and residual are rotated as in `MambaBranch`, whose arguments it has.

    Example:
        >>> block = MambaBlock(nn.LayerNorm(8), Mamba(8), nn.Identity())
        >>> block(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    @guarded_forward
    def forward(
        self,
        x: Tensor,
        residual: Tensor | None = None,
        rotation: Rotation | None = None,
        order: Tensor | None = None,
        inference_params: InferenceParams | None = None,
        reverse: bool = False,
    ) -> Tensor:
        """Applies the layer.

        Args:
            x: (B, L, D), the sequence.
            residual: (B, L, D), a second stream: the output is then Mamba(norm(x + residual)), and
                the caller keeps the residual. None for one stream.
            rotation: as in `MambaBranch`, like all that follow.
            order: (L,), or None.
            inference_params: a cache, or None.
            reverse: whether the mixer reads the sequence reversed.

        Returns:
            (B, L, D).
        """
        out = super().forward(x, residual, rotation, order, inference_params, reverse)
        return out if residual is not None else self.residual(x, rotation) + out


class MambaPair(nn.Module):
    """Two Mamba layers side by side: x + first(x) + second(reversed x).

    Args:
        first: branch that reads the sequence, its `rope` holds for both.
        second: branch that reads the reversed sequence; None if `first` reads both.
        fusion: how the two are joined: their "sum"; a "gate", which is α of the first and 1 - α of
            the second, with one learned α; or "concat", side by side through a linear layer.

    Example:
        >>> first, second = (MambaBranch(nn.LayerNorm(8), Mamba(8), nn.Identity()) for _ in "ab")
        >>> MambaPair(first, second)(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    @guarded
    def __init__(
        self, first: MambaBranch, second: MambaBranch | None = None, fusion: PairFusion = "sum"
    ) -> None:
        super().__init__()
        self.first, self.second = first, second
        dim = first.mixer.in_proj.in_features
        self.gate = nn.Parameter(torch.empty(1)) if fusion == "gate" else None
        self.projection = Linear(2 * dim, dim, bias=False) if fusion == "concat" else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets α to one half, and the projection of "concat" to the mean of both."""
        if self.gate is not None:
            nn.init.zeros_(self.gate)
        if self.projection is not None:
            half = torch.eye(self.projection.out_features, device=self.projection.weight.device) / 2
            with torch.no_grad():
                self.projection.weight.copy_(torch.cat([half, half], dim=1))

    @property
    def branches(self) -> tuple[MambaBranch, MambaBranch]:
        """The branch that reads the sequence, and the one that reads the reversed sequence."""
        return self.first, self.second or self.first

    @guarded_forward
    def forward(
        self,
        x: Tensor,
        residual: Tensor | None = None,
        rotation: Rotation | None = None,
        order: Tensor | None = None,
        inference_params: InferenceParams | None = None,
    ) -> Tensor:
        """Applies both layers.

        Args:
            x: (B, L, D), the sequence.
            residual: as in `MambaBlock`.
            rotation: as in `MambaBranch`.
            order: as in `MambaBranch`.
            inference_params: None; a pair needs the whole sequence.

        Returns:
            (B, L, D).

        Raises:
            TierError: there is a cache.
        """
        if inference_params is not None:
            raise TierError(
                "the second layer of a pair starts at the end of the sequence: use a model with "
                'pairs="none" and scan="forward".'
            )
        first, second = self.branches
        ahead = first(x, residual, rotation, order)
        back = second(x, residual, rotation, order, reverse=True)
        out = self.join(ahead, back)
        return out if residual is not None else self.residual(x, rotation) + out

    def join(self, ahead: Tensor, back: Tensor) -> Tensor:
        """Joins the outputs of the two branches.

        Args:
            ahead: (B, L, D), of the first.
            back: (B, L, D), of the second, in the order of the sequence.

        Returns:
            (B, L, D).
        """
        if self.projection is not None:
            return self.projection(torch.cat([ahead, back], dim=-1))
        if self.gate is None:
            return ahead + back
        alpha = self.gate.sigmoid()
        return alpha * ahead + (1 - alpha) * back

    def residual(self, x: Tensor, rotation: Rotation | None) -> Tensor:
        """The residual that both branches are added to.

        Args:
            x: (B, L, D), the sequence.
            rotation: as in `MambaBranch`.

        Returns:
            (B, L, D).
        """
        return self.first.residual(x, rotation)
