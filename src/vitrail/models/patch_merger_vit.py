"""PatchMerger: "Learning to Merge Tokens in Vision Transformers" (Renggli et al. 2022,
https://arxiv.org/abs/2202.12015).

    image (B, C, H, W)
      └ patch_embed ─ (B, N, D) + position
          └ half of the blocks ─ (B, N, D)
              └ PatchMerger ─ (B, M, D)
                  └ the other half ─ (B, M, D)
                      └ norm ─ mean ─ (B, D) ─ head ─ (B, classes)

Differs from ViT: halfway, M learned queries each take a weighted mean of all patches, and the rest
of the network sees these M tokens alone, at almost no cost. There is no class token. Merged tokens
stand nowhere on the grid: from there on Features hold a row of M tokens, and no map of the image.
That is why the model needs every patch: what a method would put in place of one it dropped has no
place in the end.
"""

from collections import abc

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError, TierError
from vitrail.layers.attention import Attend, Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, Size, patch_grid, to_tuple
from vitrail.layers.position import resize_positions
from vitrail.models.base import Backbone, Features, Variant
from vitrail.models.paper import Paper


class PatchMerger(nn.Module):
    """softmax(Q norm(X)ᵀ / √D) norm(X), with M learned queries Q."""

    def __init__(self, dim: int, tokens: int, norm_eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.queries = nn.Parameter(torch.empty(tokens, dim))
        self.attend = Attend()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Queries normal: as large as the normalised patches that they look at."""
        nn.init.normal_(self.queries)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D) → (B, M, D)."""
        x = self.norm(x)[:, None]  # one head
        return self.attend(self.queries.expand(x.shape[0], 1, -1, -1), x, x)[:, 0]


class PatchMergerViT(Backbone):
    """A Vision Transformer that merges its patches into `tokens` after `merge_after` blocks.

    `merge_after`: half of them if None. The other keywords as those of `ViT`.
    """

    paper = Paper(
        "Learning to Merge Tokens in Vision Transformers",
        "Renggli et al.",
        2022,
        "https://arxiv.org/abs/2202.12015",
    )

    def __init__(
        self,
        image_size: Size,
        patch_size: Size,
        num_classes: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
        tokens: int = 8,
        merge_after: int | None = None,
        channels: int = 3,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        patch = to_tuple(patch_size)
        self.dim, self.grid = dim, patch_grid(self.image_size, patch)
        self.merge_after = max(depth // 2, 1) if merge_after is None else merge_after
        if tokens < 1 or not 1 <= self.merge_after <= depth:
            raise ConfigError(
                f"tokens={tokens} merged after block {self.merge_after} of {depth}: "
                "at least 1 of both, and no more than there are blocks."
            )

        self.patch_embed = PatchEmbed(patch, channels, dim)
        self.position = nn.Parameter(torch.empty(1, self.grid[0] * self.grid[1], dim))
        self.emb_dropout = nn.Dropout(emb_dropout)
        self.blocks = nn.ModuleList(
            Block(
                dim,
                Attention(dim, heads, dropout=dropout),
                Mlp(dim, mlp_dim, dropout),
                drop_path=rate,
                norm_eps=norm_eps,
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        last = self.merge_after - 1
        merger = PatchMerger(dim, tokens, norm_eps)
        self.blocks[last] = nn.Sequential(self.blocks[last], merger)
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions, no prefix."""
        patches, grid = self.patch_embed(images)
        patches = self.emb_dropout(patches + self.positions_at(grid))
        return Features(patches, patches[:, :0], grid)

    def positions_at(self, grid: tuple[int, ...]) -> Tensor:
        """(1, N, D) for a grid of N patches."""
        return resize_positions(self.position, self.grid, grid)

    def encode(self, features: Features) -> Features:
        """Features on a grid → Features of M merged tokens in a row."""
        self.needs_all(features)
        tokens = self.norm(self.run_blocks(features.patches))
        return self._after(self.depth, tokens, features)

    def intermediates(self, images: Tensor, layers: abc.Sequence[int]) -> list[Features]:
        """Features after the given blocks, on the grid before merging. Negatives count back."""
        wanted, caught = self._block_indices(layers), []
        features = self.embed(images)
        tokens = features.patches
        for i, block in enumerate(self.blocks):
            tokens = block(tokens)
            caught.append(self._after(i + 1, tokens, features))
        return [caught[i] for i in wanted]

    def _after(self, blocks: int, tokens: Tensor, features: Features) -> Features:
        """What the tokens are after so many blocks."""
        if blocks < self.merge_after:
            return features._replace(patches=tokens)
        return Features(tokens, tokens[:, :0], (tokens.shape[1],))

    def cut(self, depth: int) -> None:
        """As every model, behind the merger; raises `TierError` before it."""
        if isinstance(depth, int) and 1 <= depth < self.merge_after:
            raise TierError(
                f"depth={depth} cuts this model before its patches merge, after block "
                f"{self.merge_after}: take `intermediates` instead."
            )
        super().cut(depth)
        self.config["merge_after"] = self.merge_after

    def pool(self, features: Features) -> Tensor:
        """Features → the mean of the tokens (B, D)."""
        return features.patches.mean(dim=1)


def _variant(parameters: int, dim: int, heads: int, depth: int = 12) -> Variant:
    keywords = {
        "image_size": 224, "patch_size": 16, "num_classes": 1000,
        "dim": dim, "depth": depth, "heads": heads, "mlp_dim": 4 * dim, "tokens": 8,
    }  # fmt: skip
    return Variant(keywords, parameters)


# ViT's published counts less the class token and its position, which this model has not, and with
# a merger: 8 queries and a norm.
VARIANTS = {
    "patch_merger_vit_small_patch16_224": _variant(22_050_664 - 2 * 384 + 10 * 384, 384, 6),
    "patch_merger_vit_base_patch16_224": _variant(86_567_656 - 2 * 768 + 10 * 768, 768, 12),
}
