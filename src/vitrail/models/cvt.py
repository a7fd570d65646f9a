"""CvT: "CvT: Introducing Convolutions to Vision Transformers" (Wu et al. 2021,
https://arxiv.org/abs/2103.15808).

    image (B, C, H, W)
      └ embedding, a convolution of 7 × 7 and a norm ─ map (B, H/4, W/4, D)
          └ stage 1: depth × Block(ConvAttention, Mlp)
              └ stages 2 and 3: a convolution of 3 × 3 and a norm ─ (B, H/8, W/8, D2) ─ blocks
                  │  and in the last stage a class token beside the map
                  └ norm ─ class token (B, D3) ─ head ─ (B, classes)

Differs from ViT: patches overlap; queries, keys and values come from depthwise convolutions, those
of keys and values with stride 2, which leaves a quarter of them; no positions, convolutions see
where they are. The class token passes by the convolutions. Logits are scaled by 1 / √D of the whole
width, not of a head's: so do the authors, and so their weights were learned. vit-pytorch scales by
a head's, has no class token and no last norm, and makes keys and values of one convolution.
"""

import torch
from torch import Tensor, nn

from vitrail.layers.attention import Attend, divide
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.conv import ConvNorm, StridedConvNorm
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import check_images
from vitrail.models.base import Features, PyramidBackbone, Variant
from vitrail.models.paper import Paper


class ConvAttention(nn.Module):
    """Attention whose queries, keys and values see their neighbours first.

    A depthwise convolution with batch norm stands before each projection; those of keys and values
    have a stride. What stands before the places of the map, a class token, passes by them.
    """

    def __init__(self, dim: int, heads: int, stride: int, dropout: float) -> None:
        super().__init__()
        divide(dim, heads)
        self.heads = heads
        self.q_conv = ConvNorm(dim, dim, 3, groups=dim)
        self.k_conv = ConvNorm(dim, dim, 3, stride, groups=dim)
        self.v_conv = ConvNorm(dim, dim, 3, stride, groups=dim)
        self.q, self.k, self.v = Linear(dim, dim), Linear(dim, dim), Linear(dim, dim)
        self.attend = Attend(dropout, scale=dim**-0.5)
        self.proj = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
        """x (B, P + H · W, D), grid (H, W) → as x."""
        prefix, patches = x.tensor_split([x.shape[1] - grid[0] * grid[1]], dim=1)
        image = patches.unflatten(1, grid).permute(0, 3, 1, 2)

        def projected(conv: ConvNorm, linear: nn.Linear) -> Tensor:
            tokens = torch.cat([prefix, conv(image).flatten(2).transpose(1, 2)], dim=1)
            return linear(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q, k = projected(self.q_conv, self.q), projected(self.k_conv, self.k)
        x = self.attend(q, k, projected(self.v_conv, self.v)).transpose(1, 2).flatten(2)
        return self.dropout(self.proj(x))


class CvTStage(nn.Module):
    """A coarser grid, then blocks; with a class token, one is put before the places of the map."""

    def __init__(self, embed: nn.Module, blocks: list[Block], class_dim: int) -> None:
        super().__init__()
        self.embed = embed
        self.blocks = nn.ModuleList(blocks)
        self.class_token = nn.Parameter(torch.empty(1, 1, class_dim)) if class_dim else None

    def forward(self, features: Features) -> Features:
        """Features on a grid → Features on this stage's."""
        features = Features.from_map(self.embed(features.to_map()))
        tokens, prefix = features.patches, 0
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
            prefix = 1
        for block in self.blocks:
            tokens = block(tokens, features.grid)
        return features._replace(prefix=tokens[:, :prefix], patches=tokens[:, prefix:])


class CvT(PyramidBackbone):
    """A CvT.

    Args:
        dim, depth, heads: width, blocks and attention heads, one number for each stage.
        kv_stride: of the convolutions before keys and values. mlp_ratio: hidden width of the MLPs
            over that of their stage. dropout: on attention weights, projections and MLPs.
        The rest as in `ViT`. Images of any size.
    """

    paper = Paper(
        "CvT: Introducing Convolutions to Vision Transformers",
        "Wu et al.",
        2021,
        "https://arxiv.org/abs/2103.15808",
    )

    def __init__(
        self,
        image_size: int | tuple[int, int],
        num_classes: int,
        dim: tuple[int, ...],
        depth: tuple[int, ...],
        heads: tuple[int, ...],
        kv_stride: int = 2,
        mlp_ratio: float = 4.0,
        channels: int = 3,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        self.dim, self.strides = tuple(dim), tuple(4 * 2**i for i in range(len(dim)))
        self.grid = tuple((side - 3) // 4 + 1 for side in self.image_size)

        self.patch_embed = StridedConvNorm(channels, dim[0], 7, 4, padding=2, norm_eps=norm_eps)
        rates = iter(drop_path_rates(drop_path, sum(depth)))
        self.blocks = nn.ModuleList(
            CvTStage(
                StridedConvNorm(dim[i - 1], dim[i], 3, 2, norm_eps=norm_eps)
                if i
                else nn.Identity(),
                [
                    Block(
                        dim[i],
                        ConvAttention(dim[i], heads[i], kv_stride, dropout),
                        Mlp(dim[i], int(mlp_ratio * dim[i]), dropout),
                        drop_path=next(rates),
                        norm_eps=norm_eps,
                    )
                    for _ in range(depth[i])
                ],
                class_dim=dim[i] if i == len(dim) - 1 else 0,
            )
            for i in range(len(dim))
        )
        self.norm = nn.LayerNorm(dim[-1], eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D), no prefix yet."""
        check_images(images, self.channels)
        return Features.from_map(self.patch_embed(images.permute(0, 2, 3, 1)))

    def encode(self, features: Features) -> Features:
        """Features on the finest grid → normalised Features on the coarsest, class token before."""
        features = super().encode(features)
        return features._replace(prefix=self.norm(features.prefix))

    def pool(self, features: Features) -> Tensor:
        """Features → the class token (B, D)."""
        return features.prefix[:, 0]


def _variant(
    parameters: int,
    depth: tuple[int, ...],
    dim: tuple[int, ...] = (64, 192, 384),
    heads: tuple[int, ...] = (1, 3, 6),
    size: int = 224,
) -> Variant:
    keywords = {"image_size": size, "num_classes": 1000, "dim": dim, "depth": depth, "heads": heads}
    return Variant(keywords, parameters)


VARIANTS = {
    "cvt_13": _variant(19_997_480, (1, 2, 10)),
    "cvt_21": _variant(31_622_696, (1, 4, 16)),
    "cvt_w24": _variant(277_196_392, (2, 2, 20), (192, 768, 1024), (3, 12, 16), 384),
}
