"""Vision Mamba as its official code computes it (github.com/hustvl/Vim at dd0358a), beyond the
paper (Zhu et al. 2024, https://arxiv.org/abs/2401.09417).

    patches (B, N, D) ─ class token at a random slot ─ + position of the slot
      └ shuffled, flipped ─ (B, N + 1, D)
          └ depth / 2 × 2 x + Mamba(norm(x)) + Mamba(norm(reversed x))
              └ in the order of [class token, patches] again

Differs from `vim.py`:

- The sequence may be shuffled and flipped in training, and the class token put at a random slot.
  The official code flips in evaluation too.
- A pair of layers (`if_bidirectional`) counts its residual twice.
- The gate of a "v1" mixer learns from the first direction only. The backward pass of the official
  code computes the gate's gradient for both, and returns the first: `dz` is rebound to the sum,
  where the buffer of `dxz` was meant.
- The scan from the end of a "v2" mixer starts with step sizes of 0.7: its bias is initialized as
  that of any other linear layer.

`vitrail.hub.converters.vision_mamba.from_official` reads the official keywords and weights.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from vitrail.layers.mamba import Mamba
from vitrail.layers.mamba_block import MambaPair
from vitrail.layers.position import Rotation
from vitrail.layers.sequence import SequenceAugment
from vitrail.models.base import Variant
from vitrail.models.features import Features, TokenSequence
from vitrail.models.vim import VisionMamba, order_with_class_token
from vitrail.ops import selective_scan as ssm
from vitrail.values import Fraction, NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class OfficialMamba(Mamba):
    """The official code's mixer: a wrong gradient of v1's gate, large first steps of v2.

    Its outputs and arguments are those of `Mamba`.

    Example:
        >>> OfficialMamba(8, "v1", fusion="sum")(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    def reset_parameters(self) -> None:
        """Initializes as `Mamba`, but for Δ of the scan from the end of "v2", which is 0.7."""
        super().reset_parameters()
        with torch.no_grad():
            self.dt_bias[1:] = 0

    def run_scan(self, inputs: ssm.Scan, backwards: Sequence[bool]) -> Tensor:
        """inputs of K directions, backwards (K,) → (B, N, E)."""
        if self.scan_kind != "v1" or inputs.z is None or not torch.is_grad_enabled():
            return super().run_scan(inputs, backwards)
        first = inputs.direction(0)
        second = inputs.direction(1)._replace(z=inputs.z.detach())
        y = ssm.selective_scan(first, backwards[:1], self.backend)
        return y + ssm.selective_scan(second, backwards[1:], self.backend)


class OfficialMambaPair(MambaPair):
    """The official code's pair of layers: 2 x + first(x) + second(reversed x).

    Its arguments are those of `MambaPair`.

    Example:
        >>> from vitrail.layers.mamba_block import MambaBranch
        >>> pair = OfficialMambaPair(MambaBranch(nn.LayerNorm(8), Mamba(8), nn.Identity()))
        >>> pair.residual(torch.ones(1, 1, 2), None)
        tensor([[[2., 2.]]])
    """

    def residual(self, x: Tensor, rotation: Rotation | None) -> Tensor:
        """x (B, L, D), rotation as in `MambaBranch` → (B, L, D)."""
        return 2 * super().residual(x, rotation)


class OfficialVisionMamba(VisionMamba):
    """Vision Mamba as its official code computes and trains it.

    Args:
        image_size: as all up to `channels`, in `VisionMamba`.
        patch_size: pixels (height, width) of a patch, or one number for both.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token.
        depth: number of Mamba layers.
        channels: number of channels of an image.
        pool: as in `VisionMamba`, or "cls_random": the class token stands at a random slot of the
            sequence in training, the same for the whole batch, and at the head in evaluation.
            Positions belong to slots then.
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last layer.
        position: "learned", a table with a row per token; "none".
        rope: what is rotated by position before every layer, as in `VisionMamba`.
        stride: pixels from patch to patch; None for `patch_size`.
        scan: directions of the mixer, "v2", "v1" or "forward".
        fusion: how the two directions are joined, "mean" or "sum".
        pairs: whether layers stand side by side in pairs, the second on the reversed sequence.
        bias: whether the mixer's projections in and out have biases.
        d_state: number of states per channel of the scan.
        d_conv: width of the convolution before the scan.
        expand: inner width of the mixer divided by `dim`.
        dt_rank: rank of the projection to step sizes; None for dim / 16, rounded up.
        norm: "rms" for RMSNorm, "layer" for LayerNorm.
        layer_scale: initial factor of LayerScale; None for no LayerScale.
        flip: probability that the whole sequence is reversed, in training.
        shuffle: probability that the whole sequence is shuffled, in training.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> model = OfficialVisionMamba(32, 8, 5, dim=16, depth=2, pool="cls_random", flip=0.5)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    paper = VisionMamba.paper
    mixer_class = OfficialMamba
    pair_class = OfficialMambaPair

    def __init__(
        self,
        image_size: Size,
        patch_size: Size,
        num_classes: NonNegativeInt,
        dim: PositiveInt,
        depth: PositiveInt,
        channels: PositiveInt = 3,
        pool: Literal[
            "cls_middle", "cls_head", "cls_random", "cls_both", "mean", "max", "last", "all"
        ] = "cls_middle",
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        position: Literal["learned", "none"] = "learned",
        rope: Literal["none", "branch", "residual"] = "none",
        stride: Size | None = None,
        scan: Literal["forward", "v1", "v2"] = "v2",
        fusion: Literal["mean", "sum"] = "mean",
        pairs: bool = False,
        bias: bool = False,
        d_state: PositiveInt = 16,
        d_conv: PositiveInt = 4,
        expand: PositiveInt = 2,
        dt_rank: PositiveInt | None = None,
        norm: Literal["rms", "layer"] = "rms",
        layer_scale: PositiveFloat | None = None,
        flip: Fraction = 0.0,
        shuffle: Fraction = 0.0,
    ) -> None:
        super().__init__(
            image_size, patch_size, num_classes, dim, depth, channels,
            pool="cls_head" if pool == "cls_random" else pool,
            emb_dropout=emb_dropout, drop_path=drop_path, position=position, rope=rope,
            stride=stride, scan=scan, fusion=fusion, pairs="sum" if pairs else "none", bias=bias,
            d_state=d_state, d_conv=d_conv, expand=expand, dt_rank=dt_rank, norm=norm,
            layer_scale=layer_scale,
        )  # fmt: skip
        self.random_slot = pool == "cls_random"
        self.set_sequence_augment(flip, shuffle)

    def set_sequence_augment(
        self, flip: float = 0.0, shuffle: float = 0.0, *, class_token: bool = False
    ) -> None:
        """Sets the augmentation of the sequence, as in `VisionMamba`; it draws slots, too."""
        super().set_sequence_augment(flip, shuffle, class_token=class_token)
        if self.random_slot and self.sequence_augment is None:
            self.sequence_augment = SequenceAugment().train(self.training)

    def add_positions(self, patches: Tensor, grid: tuple[int, ...]) -> Features:
        """patches (B, N, D) of a grid → Features; for "cls_random" without positions and dropout.

        They are added in `to_sequence`, where the slot of the class token is drawn.
        """
        if not self.random_slot or self.class_token is None:
            return super().add_positions(patches, grid)
        return Features(patches, self.class_token(patches.shape[0]), grid)

    def to_sequence(self, features: Features) -> TokenSequence:
        """Features → the sequence, in training with a random slot, shuffled and flipped."""
        if not self.random_slot:
            return super().to_sequence(features)
        count = features.patches.shape[1]
        tokens = torch.cat([features.prefix, features.patches], dim=1)
        augment = self.sequence_augment or SequenceAugment().eval()
        slot = augment.draw_slot(count)
        order = order_with_class_token(count, slot)
        if self.position is not None:
            tokens = tokens + self._slot_positions(features, slot, self.position(features.grid))
        tokens = self.emb_dropout(tokens)
        return self.arrange(features, tokens, augment(order, self.prefix))

    def _slot_positions(self, features: Features, slot: int, table: Tensor) -> Tensor:
        """table (1, 1 + N, D), a row per slot → rows of [class token, patches], (1 or B, 1 + K, D).

        A patch keeps the row of its slot in the whole grid where others were dropped.
        """
        rows = order_with_class_token(math.prod(features.grid), slot).argsort().to(table.device)
        if features.keep_indices is None:
            return table[:, rows]
        first = rows[:1].expand(len(features.keep_indices), -1)
        return table[0, torch.cat([first, rows[1:][features.keep_indices]], dim=1)]


# The published sizes do without what this file adds: they are in `vim.py`.
VARIANTS: dict[str, Variant] = {}
