"""What models share that begin and end as ViT does, and differ in their blocks."""

import torch
from torch import Tensor, nn

from vitrail.errors import check_choice
from vitrail.layers.patch import PatchEmbed, Size, patch_grid, to_tuple
from vitrail.layers.position import resize_positions
from vitrail.models.base import Features, SequenceBackbone


class PlainViT(SequenceBackbone):
    """Patches with learned positions behind a class token: all of a ViT but blocks, norm and head.

    Args:
        image_size, patch_size: pixels (height, width), or one number for both. Positions are
            learned at this size and resampled for any other that patches divide.
        num_classes, dim, channels: of the logits, the tokens, the image.
        pool: "cls" reads the class token; "mean" averages the patches, and there is none.
        emb_dropout: on embedded tokens.
    """

    def __init__(
        self,
        image_size: Size,
        patch_size: Size,
        num_classes: int,
        dim: int,
        channels: int,
        pool: str,
        emb_dropout: float,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_choice("pool", pool, ("cls", "mean"))
        patch = to_tuple(patch_size)
        self.dim, self.pool_kind = dim, pool
        self.grid = patch_grid(self.image_size, patch)
        self.patch_embed: nn.Module = PatchEmbed(patch, channels, dim)
        self.class_token = nn.Parameter(torch.empty(1, 1, dim)) if pool == "cls" else None
        self.position = nn.Parameter(torch.empty(1, self.grid[0] * self.grid[1], dim))
        self.emb_dropout = nn.Dropout(emb_dropout)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions, prefix (B, 1 or 0, D)."""
        patches, grid = self.patch_embed(images)
        patches = self.emb_dropout(patches + self.positions_at(grid))
        if self.class_token is None:
            return Features(patches, patches[:, :0], grid)
        class_token = self.class_token.expand(patches.shape[0], -1, -1)
        return Features(patches, self.emb_dropout(class_token), grid)

    def positions_at(self, grid: tuple[int, ...]) -> Tensor:
        """(1, N, D) for a grid of N patches."""
        return resize_positions(self.position, self.grid, grid)

    def pool(self, features: Features) -> Tensor:
        """Features → the class token, or the mean of the patches (B, D)."""
        if self.class_token is None:
            return features.patches.mean(dim=1)
        return features.prefix[:, 0]
