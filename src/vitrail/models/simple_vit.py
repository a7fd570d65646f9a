"""Simple ViT: "Better plain ViT baselines for ImageNet-1k" (Beyer et al. 2022,
https://arxiv.org/abs/2205.01580).

    image (B, C, H, W)
      └ patch_embed ─ (B, N, D) + fixed sines and cosines
          └ depth × Block(Attention, Mlp)
              └ norm ─ mean over patches ─ (B, D) ─ head ─ (B, classes)

Differs from ViT: no class token, positions that are not learned, no dropout anywhere, one linear
layer as the head. vit-pytorch's file of this name also normalises before and after the patch
projection and has no biases in attention; the paper does neither of the first, and keeps biases.
"""

from typing import Any

from torch import Tensor, nn

from vitrail.layers.attention import Attention
from vitrail.layers.block import Block
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import sincos_positions
from vitrail.models.base import Features, SequenceBackbone, Variant
from vitrail.models.paper import Paper


class SimpleViT(SequenceBackbone):
    """A plain Vision Transformer. Keywords as those of `ViT`; any size that patches divide."""

    paper = Paper(
        "Better plain ViT baselines for ImageNet-1k",
        "Beyer et al.",
        2022,
        "https://arxiv.org/abs/2205.01580",
    )

    axes = (2, 1, 3)

    def __init__(
        self,
        image_size: int | tuple[int, ...],
        patch_size: int | tuple[int, ...],
        num_classes: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
        channels: int = 3,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        patch = to_tuple(patch_size, len(self.image_size))
        self.dim = dim
        self.grid = patch_grid(self.image_size, patch)

        self.patch_embed = PatchEmbed(patch, channels, dim)
        self.blocks = nn.ModuleList(
            Block(
                dim, Attention(dim, heads, norm_eps=norm_eps), Mlp(dim, mlp_dim), norm_eps=norm_eps
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, *size) → patches (B, N, D) with positions, no prefix."""
        patches, grid = self.patch_embed(images)
        patches = patches + sincos_positions(grid, self.dim).to(patches)
        return Features(patches, patches[:, :0], grid)

    def pool(self, features: Features) -> Tensor:
        """Features → the mean of the patches (B, D)."""
        return features.patches.mean(dim=1)


def _variant(parameters: int, dim: int, heads: int) -> Variant:
    keywords: dict[str, Any] = {
        "image_size": 224, "patch_size": 16, "num_classes": 1000,
        "dim": dim, "depth": 12, "heads": heads, "mlp_dim": 4 * dim,
    }  # fmt: skip
    return Variant(keywords, parameters)


# ViT's published counts less the class token and the learned table, which this model has not.
VARIANTS = {
    "simple_vit_tiny_patch16_224": _variant(5_679_400, 192, 3),
    "simple_vit_small_patch16_224": _variant(21_974_632, 384, 6),
    "simple_vit_base_patch16_224": _variant(86_415_592, 768, 12),
}
