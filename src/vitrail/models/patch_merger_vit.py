"""PatchMerger: "Learning to Merge Tokens in Vision Transformers" (Renggli et al. 2022,
https://arxiv.org/abs/2202.12015).

    image (B, C, H, W)
      └ patch_embed ─ (B, N, D) + position
          └ half of the blocks ─ (B, N, D)
              └ PatchMerger ─ (B, M, D)
                  └ the other half ─ (B, M, D)
                      └ norm ─ mean ─ (B, D) ─ head ─ (B, classes)

PatchMerger differs from ViT in the middle of the network: M learned queries each take a weighted
mean of all patches, and the blocks that follow see these M tokens only, at almost no cost. There is
no class token. Merged tokens have no position in the grid, so Features after the merger hold a row
of M tokens instead of a map. For the same reason the model needs every patch: a patch that a method
dropped could not be put back in its position.
"""

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError, TierError
from vitrail.layers.attention import Attend, Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import PositionTable
from vitrail.models.base import Backbone, Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class PatchMerger(nn.Module):
    """Merges patches to M tokens, softmax(Q norm(X)ᵀ / √D) norm(X), with M learned queries Q.

    Args:
        dim: width of a token.
        tokens: number of merged tokens M.
        norm_eps: epsilon of the LayerNorm.

    Example:
        >>> PatchMerger(8, tokens=2, norm_eps=1e-6)(torch.zeros(1, 16, 8)).shape
        torch.Size([1, 2, 8])
    """

    def __init__(self, dim: int, tokens: int, norm_eps: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.queries = nn.Parameter(torch.empty(tokens, dim))
        self.attend = Attend()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws queries from a standard normal distribution, as large as normalized patches."""
        nn.init.normal_(self.queries)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D) → (B, M, D)."""
        x = self.norm(x)[:, None]  # one head
        return self.attend(self.queries.expand(x.shape[0], 1, -1, -1), x, x)[:, 0]


class PatchMergerViT(Backbone):
    """Vision Transformer that merges its patches into a few tokens (Renggli et al. 2022).

    Args:
        image_size: pixels (height, width), or one number for both. Positions are learned for this
            size and resampled for any other that patches divide.
        patch_size: pixels (height, width) of a patch, or one number for both.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token.
        depth: number of blocks.
        heads: number of attention heads, a divisor of `dim`.
        mlp_dim: hidden width of the MLP.
        tokens: number of tokens that patches are merged to.
        merge_after: number of blocks before the merger; None for half of them.
        channels: number of channels of an image.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        norm_eps: epsilon of every LayerNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> model = PatchMergerViT(32, 8, num_classes=5, dim=16, depth=2, heads=2, mlp_dim=32)
        >>> model.features(torch.zeros(2, 3, 32, 32)).patches.shape
        torch.Size([2, 8, 16])
    """

    paper = Paper(
        "Learning to Merge Tokens in Vision Transformers",
        "Renggli et al.",
        2022,
        "https://arxiv.org/abs/2202.12015",
        change="All patches are merged into a few tokens in a middle layer.",
    )

    def __init__(
        self,
        image_size: Size,
        patch_size: Size,
        num_classes: NonNegativeInt,
        dim: PositiveInt,
        depth: PositiveInt,
        heads: PositiveInt,
        mlp_dim: PositiveInt,
        tokens: PositiveInt = 8,
        merge_after: PositiveInt | None = None,
        channels: PositiveInt = 3,
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        norm_eps: PositiveFloat = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        patch = to_tuple(patch_size)
        self.dim, self.grid = dim, patch_grid(self.image_size, patch)
        self.merge_after = max(depth // 2, 1) if merge_after is None else merge_after
        if self.merge_after > depth:
            raise ConfigError(f"merge_after={merge_after} is more than depth={depth}.")

        self.patch_embed = PatchEmbed(patch, channels, dim)
        self.position = PositionTable(self.grid, dim)
        self.emb_dropout = nn.Dropout(emb_dropout)

        def make_block(index: int, rate: float) -> nn.Module:
            block = Block(
                dim,
                Attention(dim, heads, dropout=dropout),
                Mlp(dim, mlp_dim, dropout),
                drop_path=rate,
                norm_eps=norm_eps,
            )
            if index + 1 != self.merge_after:
                return block
            return nn.Sequential(block, PatchMerger(dim, tokens, norm_eps))

        self.blocks = nn.ModuleList(
            make_block(i, rate) for i, rate in enumerate(drop_path_rates(drop_path, depth))
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions, no prefix."""
        patches, grid = self.patch_embed(images)
        patches = self.emb_dropout(patches + self.position(grid))
        return Features(patches, patches[:, :0], grid)

    def encode(self, features: Features) -> Features:
        """Features on a grid → normalized Features of M merged tokens in a row."""
        self.require_whole_grid(features)
        tokens = self.norm(self.run_blocks(features.patches))
        return self._to_features(self.depth, tokens, features)

    def pool(self, features: Features) -> Tensor:
        """Features → the mean of the tokens (B, D)."""
        return features.patches.mean(dim=1)

    def block_outputs(self, images: Tensor, count: int) -> list[Features]:
        """images (B, C, H, W) → Features after each of the first `count` blocks.

        They are on the grid before the merger.
        """
        outputs, features = [], self.embed(images)
        tokens = features.patches
        for i, block in enumerate(self.blocks[:count]):
            tokens = block(tokens)
            outputs.append(self._to_features(i + 1, tokens, features))
        return outputs

    def _to_features(self, blocks: int, tokens: Tensor, features: Features) -> Features:
        """Tokens after a number of blocks, and Features before them → Features."""
        if blocks < self.merge_after:
            return features._replace(patches=tokens)
        return Features(tokens, tokens[:, :0], (tokens.shape[1],))

    def cut(self, depth: int) -> None:
        """Drops the blocks after `depth` and raises `TierError` if the merger is among them."""
        if isinstance(depth, int) and 1 <= depth < self.merge_after:
            raise TierError(
                f"depth={depth} cuts this model before its patches merge, after block "
                f"{self.merge_after}: use `intermediates` instead."
            )
        super().cut(depth)
        self.config["merge_after"] = self.merge_after  # half of another depth would be elsewhere


def _variant(parameters: int, dim: int, heads: int, depth: int = 12) -> Variant:
    keywords = {
        "image_size": 224, "patch_size": 16, "num_classes": 1000,
        "dim": dim, "depth": depth, "heads": heads, "mlp_dim": 4 * dim, "tokens": 8,
    }  # fmt: skip
    return Variant(keywords, parameters)


# The paper published no counts. These are ViT's without the class token and its position, 2 · D,
# and with the merger's 8 queries and norm, 10 · D.
VARIANTS = {
    "patch_merger_vit_small_patch16_224": _variant(22_053_736, 384, 6),
    "patch_merger_vit_base_patch16_224": _variant(86_573_800, 768, 12),
}
