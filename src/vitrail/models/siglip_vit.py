"""SigLIP ViT: "Sigmoid Loss for Language Image Pre-Training" (Zhai et al. 2023,
https://arxiv.org/abs/2303.15343).

    image (B, C, H, W)
      └ patch_embed ─ (B, N, D) + position
          └ depth × Block(Attention, Mlp with tanh GELU)
              └ norm ─ (B, N, D)
                  └ attention_pool: one query, then x + mlp(norm(x)) ─ (B, D) ─ head ─ (B, classes)

SigLIP's image tower; `methods/clip.py` trains it, or any other, beside a text tower. Differs from
ViT: no class token, but a learned query that looks at all patches once, behind the last block, and
an MLP on what it found (multi-head attention pooling, Zhai et al. 2021,
https://arxiv.org/abs/2106.04560). Pixels at the far edges that fill no patch are not seen: the
published tower of 384 pixels has patches of 14.
"""

import torch
from torch import Tensor, nn

from vitrail.layers.attention import Attention, CrossAttention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.mlp import ACTIVATIONS, Mlp
from vitrail.layers.patch import Size, to_tuple
from vitrail.models.base import Features, Variant
from vitrail.models.paper import Paper
from vitrail.models.vit_base import PlainViT


class AttentionPool(nn.Module):
    """A learned query that looks at all tokens of an image, and an MLP on what it found."""

    def __init__(
        self, dim: int, heads: int, mlp_dim: int, dropout: float = 0.0, norm_eps: float = 1e-6
    ) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(dim))
        self.mixer = CrossAttention(dim, heads, dropout=dropout)
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = Mlp(dim, mlp_dim, dropout, activation=ACTIVATIONS["gelu_tanh"]())

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D) → (B, D)."""
        found = self.mixer(self.query.expand(x.shape[0], 1, -1), x)
        return (found + self.mlp(self.norm(found)))[:, 0]


class SigLIPViT(PlainViT):
    """A Vision Transformer without a class token, pooled by attention. Keywords as in `ViT`."""

    paper = Paper(
        "Sigmoid Loss for Language Image Pre-Training",
        "Zhai et al.",
        2023,
        "https://arxiv.org/abs/2303.15343",
    )

    late = ("norm", "attention_pool", "head")

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
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-6,
    ) -> None:
        size, patch = to_tuple(image_size), to_tuple(patch_size)
        seen = whole_patches(size, patch)
        super().__init__(seen, patch, num_classes, dim, channels, "mean", emb_dropout)
        self.image_size, self.patch = size, patch
        self.blocks = nn.ModuleList(
            Block(
                dim,
                Attention(dim, heads, dropout=dropout),
                Mlp(dim, mlp_dim, dropout, activation=ACTIVATIONS["gelu_tanh"]()),
                drop_path=rate,
                norm_eps=norm_eps,
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.attention_pool = AttentionPool(dim, heads, mlp_dim, dropout, norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions; no prefix."""
        height, width = whole_patches(tuple(images.shape[-2:]), self.patch)
        return super().embed(images[..., :height, :width])

    def pool(self, features: Features) -> Tensor:
        """Features → what the query finds (B, D)."""
        return self.attention_pool(features.patches)


def whole_patches(size: tuple[int, ...], patch: tuple[int, ...]) -> tuple[int, ...]:
    """The pixels of `size` that fill patches; all of an axis that is too short for one."""
    return tuple(s - s % p if s > p else s for s, p in zip(size, patch, strict=True))


def _variant(
    parameters: int, size: int, patch: int, dim: int, depth: int, mlp_dim: int, heads: int
) -> Variant:
    keywords = {
        "image_size": size, "patch_size": patch, "num_classes": 0,
        "dim": dim, "depth": depth, "heads": heads, "mlp_dim": mlp_dim,
    }  # fmt: skip
    return Variant(keywords, parameters)


VARIANTS = {
    "vit_base_patch16_siglip_224": _variant(92_884_224, 224, 16, 768, 12, 3072, 12),
    "vit_base_patch16_siglip_256": _variant(92_930_304, 256, 16, 768, 12, 3072, 12),
    "vit_base_patch16_siglip_384": _variant(93_176_064, 384, 16, 768, 12, 3072, 12),
    "vit_base_patch16_siglip_512": _variant(93_520_128, 512, 16, 768, 12, 3072, 12),
    "vit_large_patch16_siglip_256": _variant(315_956_224, 256, 16, 1024, 24, 4096, 16),
    "vit_large_patch16_siglip_384": _variant(316_283_904, 384, 16, 1024, 24, 4096, 16),
    "vit_so400m_patch14_siglip_224": _variant(427_680_704, 224, 14, 1152, 27, 4304, 16),
    "vit_so400m_patch14_siglip_384": _variant(428_225_600, 384, 14, 1152, 27, 4304, 16),
}
