"""Small-dataset ViT: "Vision Transformer for Small-Size Datasets" (Lee et al. 2021,
https://arxiv.org/abs/2112.13492).

    image (B, C, H, W)
      └ itself and four copies, each shifted diagonally by half a patch ─ (B, 5 C, H, W)
          └ patches ─ norm ─ linear ─ (B, N, D)
              └ [class token, patches] + position ─ (B, 1 + N, D)
                  └ depth × Block(Attention with LocalityAttend, Mlp)
                      └ norm ─ class token ─ (B, D) ─ head ─ (B, classes)

This network differs from ViT in two points, which let it learn from few images to attend to what is
near. Shifted patch tokenization: a token also holds half of each neighboring patch. Locality
self-attention: no token attends to itself, and every head learns the temperature of its softmax.
Queries, keys and values have no biases, as in the authors' code.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.layers.attention import Attend, Attention, divide
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import check_images, patch_grid, to_tuple
from vitrail.models.base import Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.vit_base import PlainViT
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class ShiftedPatchEmbed(nn.Module):
    """Shifted patch tokenization: patches of the image and of four shifted copies of it.

    Each copy is shifted by half a patch in a diagonal direction, with zeros beyond the edges. The
    copies are further channels of the image.

    Args:
        patch: pixels (height, width) of a patch.
        channels: number of channels of an image.
        dim: width of a token.

    Example:
        >>> tokens, grid = ShiftedPatchEmbed((8, 8), channels=3, dim=16)(torch.zeros(1, 3, 16, 24))
        >>> tokens.shape, grid
        (torch.Size([1, 6, 16]), (2, 3))
    """

    def __init__(self, patch: tuple[int, ...], channels: int, dim: int) -> None:
        super().__init__()
        self.patch, self.channels = patch, channels
        pixels = 5 * channels * patch[0] * patch[1]
        self.norm = nn.LayerNorm(pixels)
        self.proj = Linear(pixels, dim)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """images (B, C, H, W) → tokens (B, N, D) and their grid."""
        check_images(images, self.channels)
        height, width = images.shape[2:]
        grid = patch_grid((height, width), self.patch)
        dy, dx = self.patch[0] // 2, self.patch[1] // 2
        padded = F.pad(images, (dx, dx, dy, dy))
        starts = ((dy, dx), (0, 0), (0, 2 * dx), (2 * dy, 0), (2 * dy, 2 * dx))
        shifts = [padded[:, :, y : y + height, x : x + width] for y, x in starts]
        cells = [s.unflatten(3, (grid[1], -1)).unflatten(2, (grid[0], -1)) for s in shifts]
        # One copy for all: (B, gh, gw, 5 C, ph, pw).
        patches = torch.cat([s.permute(0, 2, 4, 1, 3, 5) for s in cells], dim=3)
        return self.proj(self.norm(patches.flatten(3).flatten(1, 2))), grid


class LocalityAttend(Attend):
    """Locality self-attention: the core of attention with a learned temperature per head.

    The parameter `temperature` (heads,) is the factor of the logits; it starts from 1 / √d. Queries
    are scaled by it, which leaves the rest to the fused kernel. The caller gives the bias that
    keeps tokens from attending to themselves.

    Args:
        heads: number of heads.
        head_dim: channels per head.
        dropout: probability with which an attention weight is set to 0 in training.

    Example:
        >>> LocalityAttend(2, head_dim=4)(*torch.zeros(3, 1, 2, 5, 4)).shape
        torch.Size([1, 2, 5, 4])
    """

    def __init__(self, heads: int, head_dim: int, dropout: float = 0.0) -> None:
        super().__init__(dropout, scale=1.0)
        self.initial = head_dim**-0.5
        self.temperature = nn.Parameter(torch.empty(heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets every temperature to the usual scale of attention, 1 / √d."""
        nn.init.constant_(self.temperature, self.initial)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """q, k and v (B, H, N, d), logit bias (B, H, N, N) or less → (B, H, N, d)."""
        return super().forward(q * self.temperature[:, None, None], k, v, bias)


class SmallViT(PlainViT):
    """Vision Transformer that learns from few images (Lee et al. 2021).

    Args:
        image_size: pixels (height, width), or one number for both. Positions are learned for this
            size and resampled for any other that patches divide.
        patch_size: pixels (height, width) of a patch, or one number for both.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token.
        depth: number of blocks.
        heads: number of attention heads, a divisor of `dim`.
        mlp_dim: hidden width of the MLP.
        channels: number of channels of an image.
        pool: "cls" reads the class token; "mean" averages the patches, without a class token.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        norm_eps: epsilon of the LayerNorms of the blocks and of the last.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> model = SmallViT(32, 8, num_classes=5, dim=16, depth=2, heads=2, mlp_dim=32)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "Vision Transformer for Small-Size Datasets",
        "Lee et al.",
        2021,
        "https://arxiv.org/abs/2112.13492",
        change="Shifted patches, a learned temperature, a masked diagonal: few images.",
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
        channels: PositiveInt = 3,
        pool: Literal["cls", "mean"] = "cls",
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        norm_eps: PositiveFloat = 1e-6,
    ) -> None:
        patch_embed = ShiftedPatchEmbed(to_tuple(patch_size), channels, dim)
        super().__init__(
            image_size, patch_size, num_classes, dim, channels, pool, emb_dropout, patch_embed
        )

        def locality_attention() -> Attention:
            attend = LocalityAttend(heads, divide(dim, heads), dropout)
            return Attention(dim, heads, dropout=dropout, bias=False, attend=attend)

        self.blocks = nn.ModuleList(
            Block(
                dim,
                locality_attention(),
                Mlp(dim, mlp_dim, dropout),
                drop_path=rate,
                norm_eps=norm_eps,
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)

    def context(self, features: Features) -> tuple[object, ...]:
        """Features → no rotations, and a bias (P + N, P + N) that is -∞ from a token to itself."""
        tokens = features.prefix.shape[1] + features.patches.shape[1]
        return None, features.patches.new_full((tokens,), -torch.inf).diag()

    def init_weights(self) -> None:
        """Initializes every parameter as the authors' code (SPT_LSA_ViT, models/vit.py) does.

        Linear layers start from Xavier's normal distribution, the class token and positions from a
        standard normal distribution.
        """
        super().init_weights()
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_normal_(module.weight)
        nn.init.normal_(self.position.weight)
        if self.class_token is not None:
            nn.init.normal_(self.class_token.weight)


def _variant(parameters: int, image: int, patch: int, classes: int) -> Variant:
    keywords = {
        "image_size": image, "patch_size": patch, "num_classes": classes,
        "dim": 192, "depth": 9, "heads": 12, "mlp_dim": 384,
    }  # fmt: skip
    return Variant(keywords, parameters)


# The authors' SL-ViT, for the classes of Tiny ImageNet and of CIFAR-100.
VARIANTS = {
    "sl_vit_patch8_64": _variant(2_906_228, 64, 8, 200),
    "sl_vit_patch4_32": _variant(2_747_248, 32, 4, 100),
}
