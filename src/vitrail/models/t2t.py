"""T2T-ViT: "Tokens-to-Token ViT: Training Vision Transformers from Scratch on ImageNet"
(Yuan et al. 2021, https://arxiv.org/abs/2101.11986).

    image (B, C, H, W)
      └ soft split, 7 × 7 pixels every 4 ─ (B, H/4 · W/4, 49 C) ─ TokenTransformer ─ (…, T)
          └ soft split, 3 × 3 tokens every 2 ─ (B, H/8 · W/8, 9 T) ─ TokenTransformer ─ (…, T)
              └ soft split, 3 × 3 every 2, projected ─ (B, H/16 · W/16, D) + fixed sines
                  └ [class token, patches] ─ depth × Block(Attention, Mlp)
                      └ norm ─ class token (B, D) ─ head ─ (B, classes)

Differs from ViT: tokens are joined to longer ones three times, with overlap, and see each other in
between, so edges and lines have been found before the backbone begins, which is deep and narrow.
Positions are fixed, and so is the class token's, which is folded into it (see `vit.py`). Queries,
keys and values have no bias. The last soft split and projection are one convolution.

The token transformers have full attention ("T2T-ViT_t"; the paper's smaller variants have a
Performer's). They scale logits by the width of what they are given, as the authors do.
vit-pytorch's keep the width of the soft split, 1323 channels where the paper has 64, and its
positions are learned.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.layers.attention import Attend, Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import check_images
from vitrail.layers.position import sequence_positions
from vitrail.models.base import Features, SequenceBackbone, Variant
from vitrail.models.paper import Paper


class TokenTransformer(nn.Module):
    """A block of one head that narrows: values, not tokens, pass by the attention."""

    def __init__(self, dim_in: int, dim: int, dropout: float, norm_eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim_in, eps=norm_eps)
        self.qkv = Linear(dim_in, 3 * dim, bias=False)
        self.attend = Attend(dropout, scale=dim_in**-0.5)
        self.proj = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = Mlp(dim, dim, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, C) → (B, N, D)."""
        q, k, v = self.qkv(self.norm1(x)).unsqueeze(1).chunk(3, dim=-1)
        x = v + self.dropout(self.proj(self.attend(q, k, v)))
        return (x + self.mlp(self.norm2(x))).squeeze(1)


class TokensToToken(nn.Module):
    """Soft splits with a transformer after each but the last, which is projected."""

    def __init__(
        self, channels: int, token_dim: int, dim: int, dropout: float, norm_eps: float
    ) -> None:
        super().__init__()
        self.transformer1 = TokenTransformer(49 * channels, token_dim, dropout, norm_eps)
        self.transformer2 = TokenTransformer(9 * token_dim, token_dim, dropout, norm_eps)
        self.project = nn.Conv2d(token_dim, dim, 3, 2, 1)

    def forward(self, images: Tensor) -> Tensor:
        """images (B, C, H, W) → map (B, H / 16, W / 16, D)."""
        x = self.transformer1(F.unfold(images, 7, padding=2, stride=4).transpose(1, 2))
        x = x.transpose(1, 2).unflatten(2, split(images.shape[2:], 7, 4))
        grid = split(x.shape[2:], 3, 2)
        x = self.transformer2(F.unfold(x, 3, padding=1, stride=2).transpose(1, 2))
        return self.project(x.transpose(1, 2).unflatten(2, grid)).permute(0, 2, 3, 1)


def split(size: tuple[int, ...], kernel: int, stride: int) -> tuple[int, ...]:
    """The grid that a soft split makes of a grid of `size`."""
    return tuple((side + 2 * (stride // 2) - kernel) // stride + 1 for side in size)


class T2TViT(SequenceBackbone):
    """A T2T-ViT.

    Args:
        token_dim: width of the tokens between soft splits. The rest as in `ViT`; images of any
            size from 3 pixels on.
    """

    paper = Paper(
        "Tokens-to-Token ViT: Training Vision Transformers from Scratch on ImageNet",
        "Yuan et al.",
        2021,
        "https://arxiv.org/abs/2101.11986",
    )

    def __init__(
        self,
        image_size: int | tuple[int, int],
        num_classes: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
        token_dim: int = 64,
        channels: int = 3,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        self.dim = dim
        self.grid = split(split(split(self.image_size, 7, 4), 3, 2), 3, 2)
        self.patch_embed = TokensToToken(channels, token_dim, dim, dropout, norm_eps)
        self.class_token = nn.Parameter(torch.empty(1, 1, dim))
        self.emb_dropout = nn.Dropout(emb_dropout)
        self.blocks = nn.ModuleList(
            Block(
                dim,
                Attention(dim, heads, dropout=dropout, bias=False),
                Mlp(dim, mlp_dim, dropout),
                drop_path=rate,
                norm_eps=norm_eps,
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions, prefix (B, 1, D)."""
        check_images(images, self.channels)
        features = Features.from_map(self.patch_embed(images))
        patches = features.patches
        positions = sequence_positions(1 + patches.shape[1], self.dim)[:, 1:]
        patches = self.emb_dropout(patches + positions.to(patches))
        prefix = self.emb_dropout(self.class_token.expand(patches.shape[0], -1, -1))
        return features._replace(patches=patches, prefix=prefix)

    def pool(self, features: Features) -> Tensor:
        """Features → the class token (B, D)."""
        return features.prefix[:, 0]


def _variant(parameters: int, dim: int, depth: int) -> Variant:
    keywords = {
        "image_size": 224, "num_classes": 1000,
        "dim": dim, "depth": depth, "heads": dim // 64, "mlp_dim": 3 * dim,
    }  # fmt: skip
    return Variant(keywords, parameters)


# Of the authors' code, without its table of fixed positions.
VARIANTS = {
    "t2t_vit_t_14": _variant(21_465_422, 384, 14),
    "t2t_vit_t_19": _variant(39_084_686, 448, 19),
    "t2t_vit_t_24": _variant(64_000_590, 512, 24),
}
