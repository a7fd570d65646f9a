"""ViViT: "ViViT: A Video Vision Transformer" (Arnab et al. 2021,
https://arxiv.org/abs/2103.15691).

    video (B, C, T, H, W)
      └ tubelets ─ (B, t·N, D), N in each of t frames, + position
          ├ "joint" ────────────── depth × Block over all 1 + t·N tokens
          ├ "factorised-encoder" ─ Ls × Block over the 1 + N tokens of each frame
          │                          └ norm ─ frames (B, t, D) + position ─ Lt × Block over 1 + t
          └ "factorised-attention" depth × FactorisedBlock: over N in space, over t in time, Mlp
              └ norm ─ pool ─ (B, D) ─ head ─ (B, classes)

Differs from ViT: patches are tubelets, cut in time too, and attention over all of them at once is
only the first of three forms; the others, models 2 and 3 of the paper, take space and time in turn.
Model 3 has no class token, which would belong to no place. GELU is the tanh approximation that the
authors' code takes and the published weights need.

Class tokens have no positions of their own (see `vit.py`): one D of the published parameters is
absent in "joint", two in "factorised-encoder". The joint form is `ViT` on a grid of three axes but
for that GELU; where patches must be dropped, take that.
"""

import math
from collections import abc
from typing import Any

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError, TierError, check_choice
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, DropPath, drop_path_rates
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import Rotation, resize_positions
from vitrail.models.base import Backbone, Features, Variant
from vitrail.models.paper import Paper

FORMS = ("joint", "factorised-encoder", "factorised-attention")


class Along(Attention):
    """Attention along one axis of (B, frames, N, D): 1, in time, or 2, in space."""

    def __init__(self, axis: int, dim: int, heads: int, dropout: float, norm_eps: float) -> None:
        super().__init__(dim, heads, dropout=dropout, norm_eps=norm_eps)
        self.axis = axis

    def forward(
        self, x: Tensor, rotation: Rotation | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """x (B, frames, N, D) → the same shape; what differs on the other axis never meets."""
        x = x.transpose(self.axis, 2)
        y = super().forward(x.flatten(0, 1), rotation, bias).unflatten(0, x.shape[:2])
        return y.transpose(self.axis, 2)


class FactorisedBlock(nn.Module):
    """Attention in space, attention in time, MLP: a block of model 3."""

    def __init__(
        self, dim: int, space: Along, time: Along, mlp: Mlp, drop_path: float, norm_eps: float
    ) -> None:
        super().__init__()
        self.norm1, self.space = nn.LayerNorm(dim, eps=norm_eps), space
        self.norm2, self.time = nn.LayerNorm(dim, eps=norm_eps), time
        self.norm3, self.mlp = nn.LayerNorm(dim, eps=norm_eps), mlp
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, frames, N, D) → the same shape."""
        x = x + self.drop_path(self.space(self.norm1(x)))
        x = x + self.drop_path(self.time(self.norm2(x)))
        return x + self.drop_path(self.mlp(self.norm3(x)))


class Frames(nn.Module):
    """From space to time, in model 2: each frame becomes one token, with a position in time."""

    def __init__(
        self, dim: int, frames: int, class_token: bool, dropout: float, norm_eps: float
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.position = nn.Parameter(torch.empty(1, frames, dim))
        self.class_token = nn.Parameter(torch.empty(1, 1, dim)) if class_token else None
        self.dropout = nn.Dropout(dropout)

    def positions_at(self, frames: int) -> Tensor:
        """(1, frames, D)."""
        return resize_positions(self.position, self.position.shape[1:2], (frames,))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, frames, 1 + N, D) → (B, 1, 1 + frames, D); without class tokens no 1 +."""
        frames = self.norm(x).mean(dim=2) if self.class_token is None else self.norm(x[:, :, 0])
        frames = frames + self.positions_at(x.shape[1])
        if self.class_token is not None:
            frames = torch.cat([self.class_token.expand(x.shape[0], -1, -1), frames], dim=1)
        return self.dropout(frames)[:, None]


class ViViT(Backbone):
    """A Video Vision Transformer.

    Keywords as those of `ViT`, and:

    Args:
        image_size: (frames, height, width). patch_size: of a tubelet, on the same axes.
        depth: blocks; for "factorised-encoder" two numbers, those in space and those in time.
        pool: "cls" reads the class token; "mean" averages, and there is none: over all patches, or
            in "factorised-encoder" over those of a frame, then over frames.
        form: "joint", "factorised-encoder" or "factorised-attention": models 1 to 3 of the paper.
    """

    paper = Paper(
        "ViViT: A Video Vision Transformer",
        "Arnab et al.",
        2021,
        "https://arxiv.org/abs/2103.15691",
    )

    axes = (3,)

    def __init__(
        self,
        image_size: int | tuple[int, ...],
        patch_size: int | tuple[int, ...],
        num_classes: int,
        dim: int,
        depth: int | tuple[int, int],
        heads: int,
        mlp_dim: int,
        channels: int = 3,
        pool: str = "cls",
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        form: str = "joint",
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_choice("pool", pool, ("cls", "mean"))
        check_choice("form", form, FORMS)
        if form == "factorised-attention" and pool == "cls":
            raise ConfigError(f"form={form!r} has no class token: use pool='mean'.")
        self.depths = (depth,) if isinstance(depth, int) else tuple(depth)
        numbers = 2 if form == "factorised-encoder" else 1
        if len(self.depths) != numbers or min(self.depths) < 1:
            like = "two numbers such as (12, 4)" if numbers == 2 else "one number of at least 1"
            raise ConfigError(f"depth={depth} does not fit form={form!r}: give {like}.")
        patch = to_tuple(patch_size, 3)
        self.dim, self.form = dim, form
        self.grid = patch_grid(self.image_size, patch)

        self.patch_embed = PatchEmbed(patch, channels, dim)
        self.class_token = nn.Parameter(torch.empty(1, 1, dim)) if pool == "cls" else None
        self.position = nn.Parameter(torch.empty(1, math.prod(self._placed(self.grid)), dim))
        self.emb_dropout = nn.Dropout(emb_dropout)

        def along(axis: int) -> Along:
            return Along(axis, dim, heads, dropout, norm_eps)

        def block(rate: float) -> nn.Module:
            mlp = Mlp(dim, mlp_dim, dropout, activation=nn.GELU("tanh"))
            if form == "factorised-attention":
                return FactorisedBlock(dim, along(2), along(1), mlp, rate, norm_eps)
            return Block(dim, along(2), mlp, drop_path=rate, norm_eps=norm_eps)

        blocks = [block(rate) for n in self.depths for rate in drop_path_rates(drop_path, n)]
        if form == "factorised-encoder":
            frames = Frames(dim, self.grid[0], pool == "cls", emb_dropout, norm_eps)
            blocks[self.depths[0]] = nn.Sequential(frames, blocks[self.depths[0]])
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)

    def _placed(self, grid: tuple[int, ...]) -> tuple[int, ...]:
        """The axes that embedded positions stand for: in model 2 time comes later."""
        return grid[1:] if self.form == "factorised-encoder" else grid

    def embed(self, images: Tensor) -> Features:
        """video (B, C, T, H, W) → patches (B, t·N, D) with positions, prefix (B, P, D).

        P is 1 in "joint", t in "factorised-encoder": each frame has its class token.
        """
        patches, grid = self.patch_embed(images)
        table = self.positions_at(grid)
        patches = (patches.unflatten(1, (-1, table.shape[1])) + table).flatten(1, 2)
        prefix = patches[:, :0]
        if self.class_token is not None:
            frames = 1 if self.form == "joint" else grid[0]
            prefix = self.class_token.expand(patches.shape[0], frames, -1)
        return Features(self.emb_dropout(patches), self.emb_dropout(prefix), grid)

    def positions_at(self, grid: tuple[int, ...]) -> Tensor:
        """(1, t·N, D), or (1, N, D) in "factorised-encoder"."""
        return resize_positions(self.position, self._placed(self.grid), self._placed(grid))

    def encode(self, features: Features) -> Features:
        """Features → normalised Features; in "factorised-encoder" of frames, on a grid (t,)."""
        self.needs_all(features)
        tokens = self.run_blocks(self._unroll(features))
        return self._roll(self.norm(tokens), self.depth - 1, features.grid)

    def intermediates(self, images: Tensor, layers: abc.Sequence[int]) -> list[Features]:
        """Features after the given blocks, without the last norm. Negative indices count back."""
        wanted, caught, features = self._block_indices(layers), [], self.embed(images)
        tokens = self._unroll(features)
        for i, block in enumerate(self.blocks):
            tokens = block(tokens)
            caught.append(self._roll(tokens, i, features.grid))
        return [caught[i] for i in wanted]

    def _unroll(self, features: Features) -> Tensor:
        """(B, frames, P + N, D): a frame's tokens behind its class token; in "joint" one frame."""
        frames = 1 if self.form == "joint" else features.grid[0]
        patches = features.patches.unflatten(1, (frames, -1))
        if self.class_token is None:
            return patches
        return torch.cat([features.prefix.unflatten(1, (frames, -1)), patches], dim=2)

    def _roll(self, tokens: Tensor, block: int, grid: tuple[int, ...]) -> Features:
        """The inverse, after a block; in time there is one token a frame."""
        first = 0 if self.class_token is None else 1
        prefix, patches = tokens[:, :, :first].flatten(1, 2), tokens[:, :, first:].flatten(1, 2)
        return Features(patches, prefix, grid if block < self.depths[0] else grid[:1])

    def pool(self, features: Features) -> Tensor:
        """Features → the class token, or the mean of the patches (B, D)."""
        return features.patches.mean(dim=1) if self.class_token is None else features.prefix[:, 0]

    def cut(self, depth: int) -> None:
        """As every model; raises `TierError` where there are two kinds of blocks."""
        if self.form == "factorised-encoder":
            raise TierError(f"form={self.form!r} has depth {self.depths}: it cannot be cut.")
        super().cut(depth)

    def weights_for(self, other: Backbone) -> dict[str, Tensor]:
        """The weights for `other`, this model at another image_size: all positions resampled."""
        weights = {**self.state_dict(), "position": self.positions_at(other.grid)}
        for name, module in self.named_modules():
            if isinstance(module, Frames):
                weights[f"{name}.position"] = module.positions_at(other.grid[0])
        return weights


def _variant(parameters: int, form: str, pool: str, absent: int, in_time: int = 0) -> Variant:
    keywords: dict[str, Any] = {
        "image_size": (32, 224, 224), "patch_size": (2, 16, 16), "num_classes": 400,
        "dim": 768, "depth": (12, in_time) if in_time else 12, "heads": 12, "mlp_dim": 3072,
        "pool": pool, "form": form,
    }  # fmt: skip
    return Variant(keywords, parameters, absent)


# Kinetics-400's classes. Of the paper's 88.9, 115.1 and 117.3 million, to the last.
VARIANTS = {
    "vivit_base_patch16x2_224": _variant(88_954_000, "joint", "cls", 768),
    "vivit_base_patch16x2_224_factorised_encoder": _variant(
        115_062_928, "factorised-encoder", "cls", 2 * 768, in_time=4
    ),
    "vivit_base_patch16x2_224_factorised_attention": _variant(
        117_319_312, "factorised-attention", "mean", 0
    ),
}
