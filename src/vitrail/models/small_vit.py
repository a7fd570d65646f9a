"""Small-dataset ViT: "Vision Transformer for Small-Size Datasets" (Lee et al. 2021,
https://arxiv.org/abs/2112.13492).

    image (B, C, H, W)
      └ itself and four copies, each half a patch away diagonally ─ (B, 5 C, H, W)
          └ patches ─ norm ─ linear ─ (B, N, D) + position
              └ [class token, patches] ─ (B, 1 + N, D)
                  └ depth × Block(LocalityAttention, Mlp)
                      └ norm ─ class token ─ (B, D) ─ head ─ (B, classes)

Differs from ViT where few images cannot teach it to look nearby. Shifted patch tokenization: a
token knows half of each neighbour. Locality self-attention: no token attends to itself, and every
head learns how sharply it looks. No biases of queries, keys and values, as in the authors' code;
the class token has no position of its own (see `vit.py`): D of the published parameters is absent.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.layers.attention import Attend, Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import Size, check_images, patch_grid, to_tuple
from vitrail.models.base import Features, Variant
from vitrail.models.paper import Paper
from vitrail.models.vit_base import PlainViT


class ShiftedPatchEmbed(nn.Module):
    """Tokens of patches and of what half a patch's step in each diagonal direction sees.

    Zeros come in from beyond the edges. The four shifts stand as further channels of the image.
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
        up, left = self.patch[0] // 2, self.patch[1] // 2
        padded = F.pad(images, (left, left, up, up))
        starts = ((up, left), (0, 0), (0, 2 * left), (2 * up, 0), (2 * up, 2 * left))
        shifts = [padded[:, :, y : y + height, x : x + width] for y, x in starts]
        cut = [s.unflatten(3, (grid[1], -1)).unflatten(2, (grid[0], -1)) for s in shifts]
        # One copy for all: (B, gh, gw, 5 C, ph, pw).
        patches = torch.cat([s.permute(0, 2, 4, 1, 3, 5) for s in cut], dim=3)
        return self.proj(self.norm(patches.flatten(3).flatten(1, 2))), grid


class Temperature(nn.Module):
    """A learned factor of each head's queries, at first 1 / √d."""

    def __init__(self, heads: int, head_dim: int) -> None:
        super().__init__()
        self.initial = head_dim**-0.5
        self.scale = nn.Parameter(torch.empty(heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The usual scale of attention."""
        nn.init.constant_(self.scale, self.initial)

    def forward(self, q: Tensor) -> Tensor:
        """q (B, H, N, d) → (B, H, N, d)."""
        return q * self.scale[:, None, None]


class LocalityAttention(Attention):
    """Attention of learned temperatures; `SmallViT.context` hides every token from itself.

    Scaled queries and a bias of −∞ leave both to the fused kernel.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        attend = Attend(dropout, scale=1.0)
        super().__init__(dim, heads, dropout=dropout, bias=False, attend=attend)
        self.q_norm = Temperature(heads, dim // heads)


class SmallViT(PlainViT):
    """A Vision Transformer that learns from few images. Keywords as those of `ViT`."""

    paper = Paper(
        "Vision Transformer for Small-Size Datasets",
        "Lee et al.",
        2021,
        "https://arxiv.org/abs/2112.13492",
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
        channels: int = 3,
        pool: str = "cls",
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(image_size, patch_size, num_classes, dim, channels, pool, emb_dropout)
        self.patch_embed = ShiftedPatchEmbed(to_tuple(patch_size), channels, dim)
        self.blocks = nn.ModuleList(
            Block(
                dim,
                LocalityAttention(dim, heads, dropout),
                Mlp(dim, mlp_dim, dropout),
                drop_path=rate,
                norm_eps=norm_eps,
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)

    def context(self, features: Features) -> tuple[Any, ...]:
        """No rotations, and a bias (1 + N, 1 + N) that hides every token from itself."""
        tokens = features.prefix.shape[1] + features.patches.shape[1]
        return None, features.patches.new_full((tokens,), -torch.inf).diag()


def _variant(parameters: int, image: int, patch: int, classes: int) -> Variant:
    keywords = {
        "image_size": image, "patch_size": patch, "num_classes": classes,
        "dim": 192, "depth": 9, "heads": 12, "mlp_dim": 384,
    }  # fmt: skip
    return Variant(keywords, parameters, absent=192)


# The authors' SL-ViT, for the classes of Tiny ImageNet and of CIFAR-100.
VARIANTS = {
    "sl_vit_patch8_64": _variant(2_906_228, 64, 8, 200),
    "sl_vit_patch4_32": _variant(2_747_248, 32, 4, 100),
}
