"""Simple ViT: "Better plain ViT baselines for ImageNet-1k" (Beyer et al. 2022,
https://arxiv.org/abs/2205.01580).

    image (B, C, H, W)
      └ patch_embed ─ (B, N, D) + fixed sines and cosines
          └ depth × Block(Attention, Mlp)
              └ norm ─ mean over patches ─ (B, D) ─ head ─ (B, classes)

Simple ViT differs from ViT in four points: it has no class token, positions are not learned, there
is no dropout, and one linear layer is the head. vit-pytorch's file of this name also normalizes
before and after the patch projection and has no biases in attention, which the paper does not do.
"""

from typing import Any

from torch import Tensor, nn

from vitrail.layers.attention import Attention
from vitrail.layers.block import Block
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import sincos_positions
from vitrail.models.base import Variant
from vitrail.models.features import Features
from vitrail.models.initial import xavier_uniform_blocks
from vitrail.models.paper import Paper
from vitrail.models.tiers import SequenceBackbone
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Size


class SimpleViT(SequenceBackbone):
    """The plain Vision Transformer of Beyer et al. (2022).

    Args:
        image_size: pixels (height, width), or one number for both; (length,) for signals and
            spectra, (frames, height, width) for videos and volumes. Any other size that patches
            divide works, too.
        patch_size: pixels of a patch on the same axes; one number for all.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token, a multiple of 4 for images.
        depth: number of blocks.
        heads: number of attention heads, a divisor of `dim`.
        mlp_dim: hidden width of the MLP.
        channels: number of channels of an image.
        norm_eps: epsilon of every LayerNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> model = SimpleViT(32, 8, num_classes=5, dim=16, depth=2, heads=2, mlp_dim=32)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "Better plain ViT baselines for ImageNet-1k",
        "Beyer et al.",
        2022,
        "https://arxiv.org/abs/2205.01580",
        change="A plain baseline: mean pooling, fixed sine positions, no dropout.",
    )
    axes = (2, 1, 3)

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
        norm_eps: PositiveFloat = 1e-6,
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

    def init_weights(self) -> None:
        """Initializes every parameter as the authors' big_vision (models/vit.py) does.

        Patches start from LeCun's normal distribution and blocks from Xavier's uniform
        distribution. The head is an exception: it starts from zeros there, but as `initialize` has
        it here, so that what explains a model has something to explain in a fresh one.
        """
        super().init_weights()
        xavier_uniform_blocks(self)


def _variant(parameters: int, dim: int, heads: int) -> Variant:
    keywords: dict[str, Any] = {
        "image_size": 224, "patch_size": 16, "num_classes": 1000,
        "dim": dim, "depth": 12, "heads": heads, "mlp_dim": 4 * dim,
    }  # fmt: skip
    return Variant(keywords, parameters)


# ViT's published counts without the class token and the learned table, which this model has not.
VARIANTS = {
    "simple_vit_tiny_patch16_224": _variant(5_679_400, 192, 3),
    "simple_vit_small_patch16_224": _variant(21_974_632, 384, 6),
    "simple_vit_base_patch16_224": _variant(86_415_592, 768, 12),
}
