"""The base class of models that differ from ViT in their blocks only."""

from typing import Literal

import torch
from torch import Tensor, nn

from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import PositionTable
from vitrail.layers.tokens import Token
from vitrail.models.features import Features
from vitrail.models.tiers import SequenceBackbone
from vitrail.values import PositiveInt, Rate, Size


class PlainViT(SequenceBackbone):
    """A ViT without its blocks, norm and head: patches, a class token and learned positions.

    Args:
        image_size: pixels (height, width), or one number for both. Positions are learned at this
            size and resampled for any other that patches divide.
        patch_size: pixels (height, width) of a patch, or one number for both.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token.
        channels: number of channels of an image.
        pool: "cls" reads the class token; "mean" averages the patches, without a class token.
        emb_dropout: dropout rate of the embedded tokens.
        patch_embed: module from images to tokens (B, N, D) and their grid; None for a `PatchEmbed`
            with the initial values of PyTorch's convolutions, as in DeiT's code.

    Example:
        >>> model = vitrail.create_model("DeepViT", image_size=32, patch_size=8, num_classes=5,
        ...     dim=8, depth=2, heads=2, mlp_dim=16)
        >>> isinstance(model, PlainViT), model.position.prefix
        (True, 1)
    """

    def __init__(
        self,
        image_size: Size,
        patch_size: Size,
        num_classes: int,
        dim: PositiveInt,
        channels: PositiveInt,
        pool: Literal["cls", "mean"],
        emb_dropout: Rate,
        patch_embed: nn.Module | None = None,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        patch = to_tuple(patch_size)
        self.dim = dim
        self.pool_kind: str = pool
        self.grid = patch_grid(self.image_size, patch)
        self.patch_embed = patch_embed or PatchEmbed(patch, channels, dim, init="torch")
        self.class_token = Token(1, dim) if pool == "cls" else None
        self.position = PositionTable(self.grid, dim, prefix=1 if pool == "cls" else 0)
        self.emb_dropout = nn.Dropout(emb_dropout)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions, prefix (B, 1 or 0, D)."""
        patches, grid = self.patch_embed(images)
        return self.add_positions(patches, grid)

    def add_positions(self, patches: Tensor, grid: tuple[int, ...]) -> Features:
        """patches (B, N, D) of a grid → Features: the class token, positions and dropout added."""
        tokens = patches
        if self.class_token is not None:
            tokens = torch.cat([self.class_token(patches.shape[0]), patches], dim=1)
        tokens = self.emb_dropout(tokens + self.position(grid))
        prefix = self.position.prefix
        return Features(tokens[:, prefix:], tokens[:, :prefix], grid)

    def pool(self, features: Features) -> Tensor:
        """Features → the class token, or the mean of the patches (B, D)."""
        if self.class_token is None:
            return features.patches.mean(dim=1)
        return features.prefix[:, 0]
