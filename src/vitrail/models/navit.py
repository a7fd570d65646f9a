"""NaViT: "Patch n' Pack: NaViT, a Vision Transformer for any Aspect Ratio and Resolution"
(Dehghani et al. 2023, https://arxiv.org/abs/2307.06304).

    images (B, C, H, W), or a list of (C, Hᵢ, Wᵢ)
      └ patch_embed ─ (B, N, D), or a pack (1, N₁ + N₂ + …, D), + row + column
          └ token dropping, in training
              └ depth × Block(PackedAttention, Mlp)
                  └ norm ─ attention_pool: one query per image ─ (B, D) ─ head ─ (B, classes)

NaViT differs from ViT in five points. Images of many sizes form one sequence, so that none is
resized or padded. A position is the sum of a row's and a column's. Queries and keys are normalized.
A learned query pools the tokens, in place of a class token. Norms, attention and head have no bias.

The paper packs into sequences of one length, with masks and padding, for hardware that needs fixed
shapes. This file needs neither. Layers that treat each token by itself run once on the whole pack.
Attention runs once for all images with equally many patches or, on a GPU, once for all images, on
nested tensors.

The paper published neither weights nor parameter counts: the counts in `VARIANTS` are this file's.
vit-pytorch's models of these sizes have 3 · 16² + D parameters more, the gains of norms before and
after the patch projection, which are not in the paper. vit-pytorch does not divide logits by √d, as
the paper's source does (ViT-22B, https://arxiv.org/abs/2302.05442). Pooling is as in vit-pytorch:
the query is added to the output of its attention, and no MLP follows.
"""

import functools
import itertools
import math
from collections import abc
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import DataError, TierError
from vitrail.layers.attention import Attend, divide
from vitrail.layers.block import Block
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import Mlp
from vitrail.layers.packing import Pack, attend_within
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import resize_positions
from vitrail.layers.tokens import Token, draw_or_zero
from vitrail.models.base import Variant
from vitrail.models.features import Features, TokenSequence
from vitrail.models.paper import Paper
from vitrail.models.tiers import SequenceBackbone
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class FactorizedPositions(nn.Module):
    """Learned positions that are the sum of a row's and a column's.

    The parameters are `rows` (H, dim) and `columns` (W, dim); weight decay spares them. A smaller
    grid takes the first of them. For a larger one they are resampled linearly.

    Args:
        grid: number of patches (rows, columns) of the largest image.
        dim: width of a token.

    Example:
        >>> FactorizedPositions((4, 4), 8)((2, 6)).shape
        torch.Size([1, 12, 8])
    """

    undecayed = ("rows", "columns")

    def __init__(self, grid: tuple[int, ...], dim: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.empty(grid[0], dim))
        self.columns = nn.Parameter(torch.empty(grid[1], dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws from a truncated normal distribution with standard deviation 0.02."""
        draw_or_zero(self.rows, 0.02)
        draw_or_zero(self.columns, 0.02)

    def forward(self, grid: tuple[int, ...]) -> Tensor:
        """grid of N patches → positions (1, N, D)."""
        rows, columns = _resize(self.rows, grid[0]), _resize(self.columns, grid[1])
        return (rows[:, None] + columns).flatten(0, 1)[None]

    def resampled_to(self, other: "FactorizedPositions") -> dict[str, Tensor]:
        """other, positions of another grid → its parameters by name, from those of this one."""
        return {
            "rows": _resize(self.rows, len(other.rows)),
            "columns": _resize(self.columns, len(other.columns)),
        }


def _resize(table: Tensor, length: int) -> Tensor:
    """table (N, D) → its first `length` rows, or as many, resampled."""
    old = len(table)
    return table[:length] if length <= old else resize_positions(table[None], (old,), (length,))[0]


class HeadNorm(nn.RMSNorm):
    """RMSNorm of each head, with a gain per channel of each head.

    Example:
        >>> HeadNorm(8, eps=1e-12)(torch.ones(1, 5, 2, 4)).shape
        torch.Size([1, 5, 2, 4])
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (..., H, d) → (..., H, d)."""
        normed = F.rms_norm(x, x.shape[-1:], eps=self.eps)
        return (normed * self.weight.view(x.shape[-2:])).to(x.dtype)


class PackedAttention(nn.Module):
    """Attention within each image of a batch or a pack, with normalized queries and keys.

    Args:
        dim: width of a token.
        heads: number of heads, a divisor of `dim`.
        dropout: dropout rate of the attention weights and of the output.

    Example:
        >>> PackedAttention(8, heads=2)(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.split = (heads, divide(dim, heads))
        self.q = Linear(dim, dim, bias=False)
        self.kv = Linear(dim, 2 * dim, bias=False)
        self.q_norm, self.k_norm = HeadNorm(dim, eps=1e-12), HeadNorm(dim, eps=1e-12)
        self.attend = Attend(dropout)
        self.proj = Linear(dim, dim, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, pack: Pack | None = None, context: Tensor | None = None) -> Tensor:
        """x (B, N, D), or (1, total, D) with its `pack` → self-attention, the same shape.

        With `context`, of the shape above: cross-attention of x (B, 1, D), or (1, images, D).
        """
        q = self.q_norm(self.q(x).unflatten(-1, self.split))
        kv = self.kv(x if context is None else context)
        k, v = kv.unflatten(-1, (2, *self.split)).unbind(-3)
        k = self.k_norm(k)
        if pack is None:
            x = self.attend(*(t.transpose(1, 2) for t in (q, k, v))).transpose(1, 2)
        else:
            own = pack if context is None else pack.single()
            parts = ((own, q[0]), (pack, k[0]), (pack, v[0]))
            nested = q.is_cuda and self.attend.recorder is None
            x = attend_within(self.attend, parts, nested)[None]
        return self.dropout(self.proj(x.flatten(2)))


class PackedAttentionPool(nn.Module):
    """Attention pooling: a learned query attends to all tokens of an image (Zhai et al. 2021,
    https://arxiv.org/abs/2106.04560).

    Args:
        dim: width of a token.
        heads: number of heads, a divisor of `dim`.
        norm_eps: epsilon of the LayerNorms.

    Example:
        >>> PackedAttentionPool(8, heads=2, norm_eps=1e-6)(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 8])
    """

    def __init__(self, dim: int, heads: int, norm_eps: float) -> None:
        super().__init__()
        self.query = Token(1, dim)
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps, bias=False)
        self.mixer = PackedAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps, bias=False)

    def forward(self, x: Tensor, pack: Pack | None = None) -> Tensor:
        """x (B, N, D) → (B, D); x (1, total, D) with its `pack` → (images, D) in list order."""
        if pack is None:
            query = self.query(x.shape[0])
        else:
            query = self.query(len(pack.order)).transpose(0, 1)
        pooled = self.norm2(query + self.mixer(self.norm1(query), pack, x)).flatten(0, 1)
        return pooled if pack is None else pooled[torch.tensor(pack.order).argsort()]


class NaViT(SequenceBackbone):
    """Vision Transformer for images of many sizes in one batch (Dehghani et al. 2023).

    A list of images is packed: then the patches of Features are (1, total, D), their grid is
    (total,), and `extras` holds a `Pack`. Any size that patches divide works. Positions of a side
    longer than `image_size` are resampled.

    Args:
        image_size: pixels (height, width) of the largest image, or one number for both. Each row
            and column of its patches has a learned position.
        patch_size: pixels (height, width) of a patch, or one number for both.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token.
        depth: number of blocks.
        heads: number of attention heads, a divisor of `dim`.
        mlp_dim: hidden width of the MLP.
        channels: number of channels of an image.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded tokens.
        token_dropout: fraction of each image's patches that is dropped in training.
        token_dropout_largest: this fraction for an image of `image_size`. It grows linearly with
            the number of patches, from `token_dropout` for none. None for `token_dropout` at any
            size.
        norm_eps: epsilon of every LayerNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> model = NaViT(32, 8, num_classes=5, dim=16, depth=2, heads=2, mlp_dim=32)
        >>> model([torch.zeros(3, 32, 16), torch.zeros(3, 8, 8)]).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "Patch n' Pack: NaViT, a Vision Transformer for any Aspect Ratio and Resolution",
        "Dehghani et al.",
        2023,
        "https://arxiv.org/abs/2307.06304",
        change="Images of any size and aspect ratio are packed into one sequence.",
    )
    after_blocks = ("norm", "attention_pool", "head")

    def __init__(
        self,
        image_size: Size,
        patch_size: Size,
        num_classes: NonNegativeInt,
        dim: PositiveInt,
        depth: PositiveInt,
        heads: PositiveInt,
        mlp_dim: PositiveInt,
        channels: PositiveInt = 3,
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        token_dropout: Rate = 0.0,
        token_dropout_largest: Rate | None = None,
        norm_eps: PositiveFloat = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        patch = to_tuple(patch_size)
        self.dim = dim
        self.grid = patch_grid(self.image_size, patch)
        self.token_dropout = token_dropout
        self.token_dropout_largest = (
            token_dropout if token_dropout_largest is None else token_dropout_largest
        )

        self.patch_embed = PatchEmbed(patch, channels, dim)
        self.position = FactorizedPositions(self.grid, dim)
        self.emb_dropout = nn.Dropout(emb_dropout)
        self.blocks = nn.ModuleList(
            Block(
                dim,
                PackedAttention(dim, heads, dropout),
                Mlp(dim, mlp_dim, dropout),
                norm=functools.partial(nn.LayerNorm, eps=norm_eps, bias=False),
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps, bias=False)
        self.attention_pool = PackedAttentionPool(dim, heads, norm_eps)
        self.head = self.make_head(num_classes)

    if TYPE_CHECKING:

        def __call__(self, images: Tensor | abc.Sequence[Tensor]) -> Tensor: ...

    def check_input(self, images: object) -> None:
        """Checks the type, the device and the dtype of a batch or of each image of a list."""
        for each in images if isinstance(images, list | tuple) else [images]:
            super().check_input(each)

    def embed(self, images: Tensor | abc.Sequence[Tensor]) -> Features:
        """images (B, C, H, W), or a list of (C, H, W) → patches with positions, some dropped."""
        features = self._embed_batch(images) if isinstance(images, Tensor) else self._pack(images)
        features = features._replace(patches=self.emb_dropout(features.patches))
        drops = self.token_dropout or self.token_dropout_largest
        return self.drop(features) if self.training and drops else features

    def _embed_batch(self, images: Tensor) -> Features:
        patches, grid = self.patch_embed(images)
        return Features(patches + self.position(grid), patches[:, :0], grid)

    def _pack(self, images: abc.Sequence[Tensor]) -> Features:
        if not images:
            raise DataError("a list of no images cannot be packed: give at least one.")
        shapes = [image.shape for image in images]
        order = sorted(range(len(images)), key=lambda i: (shapes[i][1:].numel(), shapes[i]))
        same_size = [list(same) for _, same in itertools.groupby(order, key=shapes.__getitem__)]
        groups = [
            self._embed_batch(torch.stack([images[i] for i in same])).patches for same in same_size
        ]
        patches = torch.cat([group.flatten(0, 1) for group in groups])[None]
        pack = Pack.of([len(x) for group in groups for x in group], tuple(order), patches.device)
        return Features(patches, patches[:, :0], patches.shape[1:2], extras=(pack,))

    def drop(self, features: Features) -> Features:
        """Drops a random subset of the patches of each image.

        Args:
            features: a batch or a pack, as from `embed` in evaluation.

        Returns:
            Features with the patches that remain, as many as `token_dropout` says and at least one
            per image.
        """

        def subset(indices: Tensor) -> Tensor:
            count, (few, many) = indices.shape[1], (self.token_dropout, self.token_dropout_largest)
            rate = few + (many - few) * min(count / math.prod(self.grid), 1.0)
            remaining = max(1, int(count * (1 - rate)))
            order = torch.rand(indices.shape, device=indices.device).topk(remaining).indices
            return indices.gather(1, order.sort().values)

        indices = torch.arange(features.patches.shape[1], device=features.patches.device)
        if not features.extras:
            return features.take(subset(indices.expand(features.patches.shape[0], -1)))
        pack: Pack = features.extras[0]
        subsets = [subset(group) for group in pack.split(indices)]
        lengths = [len(x) for group in subsets for x in group]
        index = torch.cat([group.flatten() for group in subsets])[None]
        smaller = Pack.of(lengths, pack.order, indices.device)
        return features.take(index)._replace(extras=(smaller,))

    def context(self, features: Features) -> tuple[Pack, ...]:
        """Features → their pack, if they are one."""
        if features.extras and features.patches.shape[1] != sum(features.extras[0].lengths):
            raise TierError("`take` cannot drop patches of a pack: use NaViT.drop instead.")
        return features.extras

    def augmented(self, sequence: TokenSequence, prefix: int) -> TokenSequence:
        """sequence, number of prefix tokens → in training augmented; a pack raises `TierError`."""
        if self.sequence_augment is not None and sequence.context:
            raise TierError("another order would mix the images of a pack: unset sequence_augment.")
        return super().augmented(sequence, prefix)

    def pool(self, features: Features) -> Tensor:
        """Features → (B, D); of a pack (images, D), in the order of the list."""
        return self.attention_pool(features.patches, *features.extras)

    def make_head(self, num_classes: int) -> nn.Module:
        """num_classes, 0 for none → a linear layer without a bias, or `nn.Identity`."""
        return nn.Linear(self.dim, num_classes, bias=False) if num_classes else nn.Identity()


def _variant(parameters: int, dim: int, depth: int, heads: int) -> Variant:
    keywords = {
        "image_size": 256, "patch_size": 16, "num_classes": 1000,
        "dim": dim, "depth": depth, "heads": heads, "mlp_dim": 4 * dim,
    }  # fmt: skip
    return Variant(keywords, parameters)


VARIANTS = {
    "navit_small_patch16_256": _variant(22_558_848, 384, 12, 6),
    "navit_base_patch16_256": _variant(88_764_672, 768, 12, 12),
    "navit_large_patch16_256": _variant(308_255_744, 1024, 24, 16),
}
