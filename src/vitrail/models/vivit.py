"""ViViT: "ViViT: A Video Vision Transformer" (Arnab et al. 2021,
https://arxiv.org/abs/2103.15691).

    video (B, C, T, H, W)
      └ tubelets ─ (B, t·N, D), N in each of t frames, + position
          ├ "joint" ────────────── depth × Block over all 1 + t·N tokens
          ├ "factorised-encoder" ─ Ls × Block over the 1 + N tokens of each frame
          │                          └ norm ─ frames (B, t, D) + position ─ Lt × Block over 1 + t
          └ "factorised-attention" depth × FactorisedBlock: over N in space, over t in time, Mlp
              └ norm ─ pool ─ (B, D) ─ head ─ (B, classes)

ViViT differs from ViT in its patches, which are tubelets, cut in time too, and in its attention.
Attention over all tubelets at once is the first form only. The others, models 2 and 3 of the paper,
attend in space and in time separately. Model 3 has no class token, which would belong to no frame.
GELU is the tanh approximation of the authors' code, which the published weights need.

The joint form is `ViT` on a grid of three axes but for that GELU. Where patches must be dropped,
use that one.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError, TierError
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, DropPath, drop_path_rates
from vitrail.layers.mlp import ACTIVATIONS, Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import PositionTable, Rotation
from vitrail.layers.tokens import Token
from vitrail.models.base import Backbone, Variant
from vitrail.models.features import Features
from vitrail.models.initial import xavier_uniform_blocks
from vitrail.models.paper import Paper
from vitrail.models.parameters import initialize
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class AxisAttention(Attention):
    """Self-attention along one axis of (B, frames, N, D), in time or in space.

    Args:
        axis: 1 for attention in time, 2 in space.
        dim: width of a token.
        heads: number of heads, a divisor of `dim`.
        dropout: dropout rate of the attention weights and of the output.
        norm_eps: epsilon of the norms.

    Example:
        >>> AxisAttention(1, 8, heads=2, dropout=0.0, norm_eps=1e-6)(torch.zeros(1, 2, 4, 8)).shape
        torch.Size([1, 2, 4, 8])
    """

    def __init__(self, axis: int, dim: int, heads: int, dropout: float, norm_eps: float) -> None:
        super().__init__(dim, heads, dropout=dropout, norm_eps=norm_eps)
        self.axis = axis

    def forward(
        self, x: Tensor, rotation: Rotation | None = None, bias: Tensor | None = None
    ) -> Tensor:
        """x (B, frames, N, D), rotation and bias as in `Attention` → (B, frames, N, D)."""
        x = x.transpose(self.axis, 2)
        y = super().forward(x.flatten(0, 1), rotation, bias).unflatten(0, x.shape[:2])
        return y.transpose(self.axis, 2)


class FactorisedBlock(nn.Module):
    """A block of model 3: attention in space, attention in time, MLP.

    Args:
        dim: width of a token.
        space: attention among the patches of each frame.
        time: attention among the frames of each patch.
        mlp: module applied to each token.
        drop_path: rate of stochastic depth of all three branches.
        norm_eps: epsilon of the LayerNorms.

    Example:
        >>> space, time = (AxisAttention(axis, 8, 2, 0.0, 1e-6) for axis in (2, 1))
        >>> block = FactorisedBlock(8, space, time, Mlp(8, 16), drop_path=0.0, norm_eps=1e-6)
        >>> block(torch.zeros(1, 2, 4, 8)).shape
        torch.Size([1, 2, 4, 8])
    """

    def __init__(
        self,
        dim: int,
        space: AxisAttention,
        time: AxisAttention,
        mlp: Mlp,
        drop_path: float,
        norm_eps: float,
    ) -> None:
        super().__init__()
        self.norm1, self.space = nn.LayerNorm(dim, eps=norm_eps), space
        self.norm2, self.time = nn.LayerNorm(dim, eps=norm_eps), time
        self.norm3, self.mlp = nn.LayerNorm(dim, eps=norm_eps), mlp
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, frames, N, D) → (B, frames, N, D)."""
        x = x + self.drop_path(self.space(self.norm1(x)))
        x = x + self.drop_path(self.time(self.norm2(x)))
        return x + self.drop_path(self.mlp(self.norm3(x)))


class FrameEmbedding(nn.Module):
    """From space to time in model 2: each frame becomes one token with a position in time.

    Args:
        dim: width of a token.
        frames: number of frames that positions are learned for.
        class_token: whether a frame's token is its class token, and time gets one, too; otherwise
            it is the mean of the frame's patches.
        dropout: dropout rate of the output.
        norm_eps: epsilon of the LayerNorm on the input.

    Example:
        >>> FrameEmbedding(8, 4, True, dropout=0.0, norm_eps=1e-6)(torch.zeros(2, 4, 10, 8)).shape
        torch.Size([2, 1, 5, 8])
    """

    def __init__(
        self, dim: int, frames: int, class_token: bool, dropout: float, norm_eps: float
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.class_token = Token(1, dim, std=0.0) if class_token else None
        self.position = PositionTable((frames,), dim, prefix=int(class_token))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, frames, 1 + N, D) → (B, 1, 1 + frames, D); without class tokens no 1 +."""
        if self.class_token is None:
            tokens = self.norm(x).mean(dim=2)
        else:
            tokens = torch.cat([self.class_token(x.shape[0]), self.norm(x[:, :, 0])], dim=1)
        return self.dropout(tokens + self.position((x.shape[1],)))[:, None]


class ViViT(Backbone):
    """Video Vision Transformer (Arnab et al. 2021).

    Args:
        image_size: (frames, height, width). Positions are learned for this size and resampled for
            any other that tubelets divide.
        patch_size: frames and pixels of a tubelet on the same axes, or one number for all.
        num_classes: width of the logits; 0 for no head, so that `forward` gives pooled features.
        dim: width of a token.
        depth: number of blocks; for "factorised-encoder" two numbers, in space and in time.
        heads: number of attention heads, a divisor of `dim`.
        mlp_dim: hidden width of the MLP.
        channels: number of channels of a frame.
        pool: "cls" reads the class token; "mean" averages the patches, without a class token. In
            "factorised-encoder" it averages those of a frame, and then the frames.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first,
            in space and in time separately.
        form: "joint", "factorised-encoder" or "factorised-attention", models 1 to 3 of the paper.
        norm_eps: epsilon of every LayerNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into tubelets.

    Example:
        >>> model = ViViT((4, 16, 16), (2, 8, 8), num_classes=5, dim=16, depth=(1, 1), heads=2,
        ...     mlp_dim=32, form="factorised-encoder")
        >>> model(torch.zeros(2, 3, 4, 16, 16)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "ViViT: A Video Vision Transformer",
        "Arnab et al.",
        2021,
        "https://arxiv.org/abs/2103.15691",
        change="Videos as tubelets; space and time are attended jointly or in turn.",
    )
    axes = (3,)

    def __init__(
        self,
        image_size: Size,
        patch_size: Size,
        num_classes: NonNegativeInt,
        dim: PositiveInt,
        depth: PositiveInt | tuple[PositiveInt, PositiveInt],
        heads: PositiveInt,
        mlp_dim: PositiveInt,
        channels: PositiveInt = 3,
        pool: Literal["cls", "mean"] = "cls",
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        form: Literal["joint", "factorised-encoder", "factorised-attention"] = "joint",
        norm_eps: PositiveFloat = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        if form == "factorised-attention" and pool == "cls":
            raise ConfigError(f"form={form!r} has no class token: use pool='mean'.")
        self.depths = (depth,) if isinstance(depth, int) else depth
        count = 2 if form == "factorised-encoder" else 1
        if len(self.depths) != count:
            expected = "two numbers such as (12, 4)" if count == 2 else "one number such as 12"
            raise ConfigError(f"depth={depth} does not fit form={form!r}: use {expected}.")
        patch = to_tuple(patch_size, 3)
        self.dim, self.form = dim, form
        self.grid = patch_grid(self.image_size, patch)

        self.patch_embed = PatchEmbed(patch, channels, dim)
        self.class_token = Token(1, dim, std=0.0) if pool == "cls" else None
        prefix = 0 if self.class_token is None else 1
        self.position = PositionTable(self._embedded_axes(self.grid), dim, prefix=prefix)
        self.emb_dropout = nn.Dropout(emb_dropout)

        def attention(axis: int) -> AxisAttention:
            return AxisAttention(axis, dim, heads, dropout, norm_eps)

        def block(rate: float) -> nn.Module:
            mlp = Mlp(dim, mlp_dim, dropout, activation=ACTIVATIONS["gelu_tanh"]())
            if form == "factorised-attention":
                return FactorisedBlock(dim, attention(2), attention(1), mlp, rate, norm_eps)
            return Block(dim, attention(2), mlp, drop_path=rate, norm_eps=norm_eps)

        blocks = [block(rate) for rate in drop_path_rates(drop_path, self.depths[0])]
        if form == "factorised-encoder":
            first, *rest = [block(rate) for rate in drop_path_rates(drop_path, self.depths[-1])]
            frames = FrameEmbedding(dim, self.grid[0], pool == "cls", emb_dropout, norm_eps)
            blocks += [nn.Sequential(frames, first), *rest]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)

    def init_weights(self) -> None:
        """Initializes as the authors' code (google-research/scenic, projects/vivit/model.py).

        Attention and MLPs start from Xavier's uniform distribution, positions from a standard
        deviation of 0.02, class tokens from 0, and the embedding from LeCun's normal distribution.
        Their head starts from 0, because their encoder was trained on images before. Here it starts
        as that of other models, so that an untrained encoder gets a gradient from the first step.
        """
        initialize(self)
        xavier_uniform_blocks(self)

    def _embedded_axes(self, grid: tuple[int, ...]) -> tuple[int, ...]:
        """The axes of the grid that embedded positions stand for; model 2 adds time later."""
        return grid[1:] if self.form == "factorised-encoder" else grid

    def embed(self, images: Tensor) -> Features:
        """video (B, C, T, H, W) → patches (B, t·N, D) with positions, prefix (B, P, D).

        P is 1 in "joint" and t in "factorised-encoder", where each frame has a class token.
        """
        patches, grid = self.patch_embed(images)
        positions = self.position(self._embedded_axes(grid))
        prefix, table = positions.tensor_split([self.position.prefix], dim=1)
        patches = (patches.unflatten(1, (-1, table.shape[1])) + table).flatten(1, 2)
        if self.class_token is None:
            tokens = patches[:, :0]
        else:
            frames = 1 if self.form == "joint" else grid[0]
            tokens = (self.class_token(patches.shape[0]) + prefix).expand(-1, frames, -1)
        return Features(self.emb_dropout(patches), self.emb_dropout(tokens), grid)

    def encode(self, features: Features) -> Features:
        """Features → normalized Features; in "factorised-encoder" of frames, on a grid (t,)."""
        self.require_whole_grid(features)
        tokens = self.run_blocks(self._to_frames(features))
        return self._to_features(self.norm(tokens), self.depth - 1, features.grid)

    def block_outputs(self, images: Tensor, count: int) -> list[Features]:
        """video (B, C, T, H, W) → Features after each of the first `count` blocks."""
        outputs, features = [], self.embed(images)
        tokens = self._to_frames(features)
        for i, block in enumerate(self.blocks[:count]):
            tokens = block(tokens)
            outputs.append(self._to_features(tokens, i, features.grid))
        return outputs

    def _to_frames(self, features: Features) -> Tensor:
        """Features → (B, frames, P + N, D), class tokens first; in "joint" there is one frame."""
        frames = 1 if self.form == "joint" else features.grid[0]
        patches = features.patches.unflatten(1, (frames, -1))
        if self.class_token is None:
            return patches
        return torch.cat([features.prefix.unflatten(1, (frames, -1)), patches], dim=2)

    def _to_features(self, tokens: Tensor, block: int, grid: tuple[int, ...]) -> Features:
        """The inverse after a block; in time there is one token per frame."""
        prefix = self.position.prefix
        patches = tokens[:, :, prefix:].flatten(1, 2)
        grid = grid if block < self.depths[0] else grid[:1]
        return Features(patches, tokens[:, :, :prefix].flatten(1, 2), grid)

    def pool(self, features: Features) -> Tensor:
        """Features → the class token, or the mean of the patches (B, D)."""
        return features.patches.mean(dim=1) if self.class_token is None else features.prefix[:, 0]

    def cut(self, depth: int) -> None:
        """Keeps `depth` blocks; `TierError` in "factorised-encoder", which has two kinds."""
        if self.form == "factorised-encoder":
            raise TierError(f"form={self.form!r} has depth {self.depths}, which cannot be cut.")
        super().cut(depth)


def _variant(parameters: int, form: str, pool: str, depth: int | tuple[int, int] = 12) -> Variant:
    keywords: dict[str, Any] = {
        "image_size": (32, 224, 224), "patch_size": (2, 16, 16), "num_classes": 400,
        "dim": 768, "depth": depth, "heads": 12, "mlp_dim": 3072, "pool": pool, "form": form,
    }  # fmt: skip
    return Variant(keywords, parameters)


# Kinetics-400's classes. The paper rounds to 88.9, 115.1 and 117.3 million parameters.
VARIANTS = {
    "vivit_base_patch16x2_224": _variant(88_954_000, "joint", "cls"),
    "vivit_base_patch16x2_224_factorised_encoder": _variant(
        115_062_928, "factorised-encoder", "cls", (12, 4)
    ),
    "vivit_base_patch16x2_224_factorised_attention": _variant(
        117_319_312, "factorised-attention", "mean"
    ),
}
