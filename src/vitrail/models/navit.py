"""NaViT: "Patch n' Pack: NaViT, a Vision Transformer for any Aspect Ratio and Resolution"
(Dehghani et al. 2023, https://arxiv.org/abs/2307.06304).

    images (B, C, H, W), or a list of (C, Hᵢ, Wᵢ)
      └ patch_embed ─ (B, N, D), or a pack (1, N₁ + N₂ + …, D), + row + column
          └ in training: without some patches
              └ depth × Block(PackedAttention, Mlp)
                  └ norm ─ attention_pool: one query an image ─ (B, D) ─ head ─ (B, classes)

Differs from ViT: images of many sizes stand in one sequence, so that none is resized or padded; a
position is the sum of a row's and a column's; queries and keys are normalised; a learned query
pools, in place of a class token; norms, attention and head have no biases.

The paper packs into sequences of one length, with masks and padding, for machines that need fixed
shapes. Here is neither. What treats each token alone runs once on the whole pack; attention runs
once for all images with equally many patches or, on a GPU, once for all, on nested tensors.

The paper published neither weights nor counts: those below are of vit-pytorch's file, which also
normalises before and after its patch projection (what `absent` counts) and does not divide logits
by √d, as the paper's source does (ViT-22B, https://arxiv.org/abs/2302.05442). Pooling is as there:
the query is added to what it finds, and no MLP follows.
"""

import functools
import itertools
import math
from collections import abc

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError, DataError, TierError
from vitrail.layers.attention import Attend, divide
from vitrail.layers.block import Block
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import Mlp
from vitrail.layers.packing import Pack, attend_within
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import resize_positions
from vitrail.models.base import Backbone, Features, SequenceBackbone, Variant
from vitrail.models.paper import Paper


class HeadNorm(nn.RMSNorm):
    """RMSNorm of each head, with a gain for each channel of each head."""

    def forward(self, x: Tensor) -> Tensor:
        """x (..., H, d) → (..., H, d)."""
        normed = F.rms_norm(x, x.shape[-1:], eps=self.eps)
        return (normed * self.weight.view(x.shape[-2:])).to(x.dtype)


class PackedAttention(nn.Module):
    """Attention within each image of a batch or a pack, with normalised queries and keys."""

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
        """x (B, N, D), in a pack (1, total, D), looks at itself → the same shape.

        Or x (B, 1, D), in a pack (1, images, D), looks at `context`, of the shape above.
        """
        q = self.q_norm(self.q(x).unflatten(-1, self.split))
        kv = self.kv(x if context is None else context)
        k, v = kv.unflatten(-1, (2, *self.split)).unbind(-3)
        k = self.k_norm(k)
        if pack is None:
            seen = self.attend(*(t.transpose(1, 2) for t in (q, k, v))).transpose(1, 2)
        else:
            own = pack if context is None else pack.single()
            parts = ((own, q[0]), (pack, k[0]), (pack, v[0]))
            seen = attend_within(self.attend, parts, q.is_cuda and self.attend.recorder is None)[None]
        return self.dropout(self.proj(seen.flatten(2)))


class AttentionPool(nn.Module):
    """A learned query that looks at all tokens of an image (Zhai et al. 2021,
    https://arxiv.org/abs/2106.04560)."""

    def __init__(self, dim: int, heads: int, norm_eps: float) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(dim))
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps, bias=False)
        self.mixer = PackedAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps, bias=False)

    def forward(self, x: Tensor, pack: Pack | None = None) -> Tensor:
        """x (B, N, D) → (B, D); a pack (1, total, D) → (images, D), in the list's order."""
        shape = (x.shape[0], 1) if pack is None else (1, len(pack.order))
        query = self.query.expand(*shape, -1)
        pooled = self.norm2(query + self.mixer(self.norm1(query), pack, x)).flatten(0, 1)
        return pooled if pack is None else pooled[torch.tensor(pack.order).argsort()]


class NaViT(SequenceBackbone):
    """A Vision Transformer for images of many sizes at once.

        model(images)                                     # (B, C, H, W) → (B, classes)
        model([torch.rand(3, 256, 160), torch.rand(3, 64, 64)])  # → (2, classes)

    `embed` packs a list: its patches are (1, total, D), its `aside` is a `Pack`, its grid (total,).
    Any size that patches divide works. A side beyond image_size has its positions stretched.

    Args:
        image_size: the largest: its rows and columns of patches have a position each.
        dropout, emb_dropout: as those of `ViT`. The rest too.
        token_dropout: part of each image's patches left out in training; or two, of an image of
            few patches and of the largest: in between it grows with their number.
    """

    paper = Paper(
        "Patch n' Pack: NaViT, a Vision Transformer for any Aspect Ratio and Resolution",
        "Dehghani et al.",
        2023,
        "https://arxiv.org/abs/2307.06304",
    )

    late = ("norm", "attention_pool", "head")

    def __init__(
        self,
        image_size: int | tuple[int, int],
        patch_size: int | tuple[int, int],
        num_classes: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
        channels: int = 3,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        token_dropout: float | tuple[float, float] = 0.0,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        patch = to_tuple(patch_size)
        self.dim = dim
        self.grid = patch_grid(self.image_size, patch)
        rates = token_dropout if isinstance(token_dropout, abc.Sequence) else (token_dropout,) * 2
        self.token_dropout = tuple(rates)
        if len(self.token_dropout) != 2 or not all(0 <= rate < 1 for rate in self.token_dropout):
            raise ConfigError(
                f"token_dropout={token_dropout} is not one or two parts within 0 and 1: try 0.5."
            )

        self.patch_embed = PatchEmbed(patch, channels, dim)
        self.position = nn.Parameter(torch.empty(sum(self.grid), dim))  # of rows, then of columns
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
        self.attention_pool = AttentionPool(dim, heads, norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor | abc.Sequence[Tensor]) -> Features:
        """images (B, C, H, W), or a list of (C, H, W) → patches with positions, some dropped."""
        features = self._place(images) if isinstance(images, Tensor) else self._pack(images)
        features = features._replace(patches=self.emb_dropout(features.patches))
        return self.drop(features) if self.training and any(self.token_dropout) else features

    def _place(self, images: Tensor) -> Features:
        patches, grid = self.patch_embed(images)
        return Features(patches + self.positions_at(grid), patches[:, :0], grid)

    def _pack(self, images: abc.Sequence[Tensor]) -> Features:
        if not images:
            raise DataError("a list of no images cannot be packed: give at least one.")
        shapes = [image.shape for image in images]
        order = sorted(range(len(images)), key=lambda i: (shapes[i][1:].numel(), shapes[i]))
        same_size = [list(same) for _, same in itertools.groupby(order, key=shapes.__getitem__)]
        parts = [self._place(torch.stack([images[i] for i in same])).patches for same in same_size]
        patches = torch.cat([part.flatten(0, 1) for part in parts])[None]
        pack = Pack.of([len(x) for part in parts for x in part], tuple(order), patches.device)
        return Features(patches, patches[:, :0], patches.shape[1:2], extras=(pack,))

    def drop(self, features: Features) -> Features:
        """Features with fewer patches of each image, at random, as `token_dropout` says."""

        def some(places: Tensor) -> Tensor:
            count, (few, many) = places.shape[1], self.token_dropout
            rate = few + (many - few) * min(count / math.prod(self.grid), 1.0)
            kept = max(1, int(count * (1 - rate)))
            chosen = torch.rand(places.shape, device=places.device).topk(kept).indices
            return places.gather(1, chosen.sort().values)

        places = torch.arange(features.patches.shape[1], device=features.patches.device)
        if not features.extras:
            return features.take(some(places.expand(features.patches.shape[0], -1)))
        pack: Pack = features.extras[0]
        kept = [some(group) for group in pack.split(places)]
        fewer = Pack.of([len(x) for group in kept for x in group], pack.order, places.device)
        index = torch.cat([group.flatten() for group in kept])[None]
        return features.take(index)._replace(extras=(fewer,))

    def context(self, features: Features) -> tuple[Pack, ...]:
        """The pack, where there is one."""
        if features.extras and features.patches.shape[1] != sum(features.extras[0].lengths):
            raise TierError("patches of a pack were taken, not dropped: use NaViT.drop.")
        return features.extras

    def pool(self, features: Features) -> Tensor:
        """Features → (B, D); of a pack (images, D), in the list's order."""
        return self.attention_pool(features.patches, *features.extras)

    def make_head(self, num_classes: int) -> nn.Module:
        """A linear layer without biases; no classes, no head."""
        return nn.Linear(self.dim, num_classes, bias=False) if num_classes else nn.Identity()

    def positions_of(self, grid: tuple[int, ...]) -> list[Tensor]:
        """Positions of so many rows (H, D) and columns (W, D)."""
        tables = zip(self.position.split(self.grid), self.grid, grid, strict=True)
        return [
            table[:new] if new <= old else resize_positions(table[None], (old,), (new,))[0]
            for table, old, new in tables
        ]

    def positions_at(self, grid: tuple[int, ...]) -> Tensor:
        """(1, N, D) for a grid of N patches: row + column."""
        rows, columns = self.positions_of(grid)
        return (rows[:, None] + columns).flatten(0, 1)[None]

    def weights_for(self, other: Backbone) -> dict[str, Tensor]:
        """The weights of this model as `other`, the same at another image_size, has them."""
        return {**self.state_dict(), "position": torch.cat(self.positions_of(other.grid))}


def _variant(parameters: int, dim: int, depth: int, heads: int) -> Variant:
    keywords = {
        "image_size": 256, "patch_size": 16, "num_classes": 1000,
        "dim": dim, "depth": depth, "heads": heads, "mlp_dim": 4 * dim,
    }  # fmt: skip
    return Variant(keywords, parameters, absent=3 * 16 * 16 + dim)


VARIANTS = {
    "navit_small_patch16_256": _variant(22_560_000, 384, 12, 6),
    "navit_base_patch16_256": _variant(88_766_208, 768, 12, 12),
    "navit_large_patch16_256": _variant(308_257_536, 1024, 24, 16),
}
