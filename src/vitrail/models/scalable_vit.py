"""ScalableViT: "ScalableViT: Rethinking the Context-oriented Generalization of Vision Transformer"
(Yang et al. 2022, https://arxiv.org/abs/2203.10790).

    image (B, C, H, W)
      └ 7 × 7 convolution + norm ─ map (B, H/4, W/4, D)
          └ stage 1: Block(InteractiveWindowAttention, Mlp), positions,
          │          Block(ScalableAttention, Mlp), and so on in turn
              └ stages 2 to 4: 3 × 3 convolution + norm ─ (B, H/8, W/8, 2D) ─ blocks, and so on
                  └ norm ─ mean over places ─ (B, 8D) ─ head ─ (B, classes)

Differs from ViT: every second block looks at the whole map, but at a coarser copy of it, and with
queries and keys of their own width; the blocks between look at windows, which a convolution of the
values joins. A convolution after the first block of a stage says where a token stands (CPVT's).
The head has a hidden layer, which the published parameter counts include.

All is as in the authors' code, but that a map that windows or reductions do not divide is padded
with zeros. vit-pytorch's file of this name has dense convolutions where the authors have one filter
a channel, runs an MLP where the windowed attention belongs and the other way round, and reads keys
and values straight off the strided convolution.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.layers.attention import Attend, divide
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.conv import ConditionalPosition, DepthwiseConv, StridedConvNorm
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import check_images
from vitrail.layers.spatial_reduction import ReducedAttention
from vitrail.layers.window import pad_to, partition, unpartition
from vitrail.models.base import Features, PyramidBackbone, PyramidStage, Variant
from vitrail.models.paper import Paper


class ScalableAttention(nn.Module):
    """SSA: keys and values of a coarser map; queries and keys have their own width, `key_dim`."""

    def __init__(
        self, dim: int, heads: int, reduction: int, key_dim: int, dropout: float, norm_eps: float
    ) -> None:
        super().__init__()
        divide(dim, heads), divide(key_dim, heads)
        self.heads, self.reduction = heads, (reduction, reduction)
        self.q = Linear(dim, key_dim)
        self.reduce = nn.Conv2d(dim, dim, reduction, reduction, groups=dim)
        self.scale = Linear(dim, key_dim)
        self.norm = nn.LayerNorm(key_dim, eps=norm_eps)
        self.kv = Linear(key_dim, key_dim + dim)
        self.attend = Attend(dropout)
        self.proj = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        q = self.q(x.flatten(1, 2))
        coarse = self.reduce(pad_to(x, self.reduction).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        coarse = F.gelu(self.norm(self.scale(coarse.flatten(1, 2))))
        k, v = self.kv(coarse).split([q.shape[-1], x.shape[-1]], dim=-1)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))
        attended = self.attend(q, k, v)
        return self.dropout(self.proj(attended.transpose(1, 2).reshape(x.shape)))


class InteractiveWindowAttention(nn.Module):
    """IWSA: self-attention within windows, plus a convolution of the values across them."""

    def __init__(self, dim: int, heads: int, window: int, dropout: float) -> None:
        super().__init__()
        divide(dim, heads)
        self.heads, self.window = heads, window
        self.qkv = Linear(dim, 3 * dim)
        self.attend = Attend(dropout)
        self.local = DepthwiseConv(dim)  # the paper's local interactive module
        self.proj = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        height, width = x.shape[1:3]
        window = (min(self.window, height), min(self.window, width))
        x = pad_to(x, window)
        qkv = self.qkv(partition(x, window))
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = self.attend(q, k, v).transpose(1, 2).flatten(2)
        attended, values = (
            unpartition(t, window, x.shape[1:3])[:, :height, :width]
            for t in (attended, qkv.chunk(3, dim=-1)[2])
        )
        return self.dropout(self.proj(attended + self.local(values)))


class ScalableViT(PyramidBackbone):
    """A ScalableViT, for images of any size. Keywords as those of `Swin`, and:

    Args:
        reduction: of the map that a stage's scalable attention looks at; 1 for none.
        key_ratio: width of its queries and keys over that of the stage, where there is a reduction.
        head_dim: hidden width of the head; 0 for a linear head.
    """

    paper = Paper(
        "ScalableViT: Rethinking the Context-oriented Generalization of Vision Transformer",
        "Yang et al.",
        2022,
        "https://arxiv.org/abs/2203.10790",
    )

    def __init__(
        self,
        image_size: int | tuple[int, int],
        patch_size: int,
        num_classes: int,
        dim: tuple[int, ...],
        depth: tuple[int, ...],
        heads: tuple[int, ...],
        reduction: tuple[int, ...] = (8, 4, 2, 1),
        key_ratio: tuple[float, ...] = (1.25, 1.25, 1.25, 1.0),
        window: int = 7,
        mlp_ratio: float = 4.0,
        head_dim: int = 4096,
        channels: int = 3,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        self.dim, self.head_dim, self.norm_eps = tuple(dim), head_dim, norm_eps
        self.strides = tuple(patch_size * 2**i for i in range(len(depth)))
        self.grid = tuple(-(-side // patch_size) for side in self.image_size)

        def mixer(stage: int, block: int) -> nn.Module:
            width, count, ratio = dim[stage], heads[stage], reduction[stage]
            if block % 2 == 0:
                return InteractiveWindowAttention(width, count, window, dropout)
            if ratio == 1:
                return ReducedAttention(width, count, nn.Identity(), dropout)
            key_dim = int(width * key_ratio[stage])
            return ScalableAttention(width, count, ratio, key_dim, dropout, norm_eps)

        kernel = 2 * patch_size - 1
        self.patch_embed = StridedConvNorm(channels, dim[0], kernel, patch_size, norm_eps=norm_eps)
        self.emb_dropout = nn.Dropout(emb_dropout)
        rates = iter(drop_path_rates(drop_path, sum(depth)))
        stages = []
        for i, width in enumerate(dim):
            blocks: list[nn.Module] = []
            for j in range(depth[i]):
                mlp = Mlp(width, int(mlp_ratio * width), dropout)
                rate = next(rates)
                blocks.append(Block(width, mixer(i, j), mlp, drop_path=rate, norm_eps=norm_eps))
            blocks.insert(1, ConditionalPosition(width))
            first = (
                StridedConvNorm(dim[i - 1], width, 3, 2, norm_eps=norm_eps) if i else nn.Identity()
            )
            stages.append(PyramidStage(first, blocks))
        self.blocks = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(dim[-1], eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D), no prefix."""
        check_images(images, self.channels)
        return Features.from_map(self.emb_dropout(self.patch_embed(images.permute(0, 2, 3, 1))))

    def make_head(self, num_classes: int) -> nn.Module:
        """A head with a hidden layer, or a linear one if `head_dim` is 0; no classes, no head."""
        if not (num_classes and self.head_dim):
            return super().make_head(num_classes)
        return nn.Sequential(
            Linear(self.pooled_dim, self.head_dim),
            nn.LayerNorm(self.head_dim, eps=self.norm_eps),
            nn.GELU(),
            Linear(self.head_dim, num_classes),
        )


def _variant(
    parameters: int, dim: int, depth: tuple[int, ...], heads: int, key_ratio: tuple[float, ...]
) -> Variant:
    keywords: dict[str, Any] = {
        "image_size": 224, "patch_size": 4, "num_classes": 1000, "depth": depth,
        "dim": tuple(dim * 2**i for i in range(4)), "heads": tuple(heads * 2**i for i in range(4)),
        "key_ratio": key_ratio,
    }  # fmt: skip
    return Variant(keywords, parameters)


VARIANTS = {
    "scalable_vit_small": _variant(32_000_472, 64, (2, 2, 20, 2), 2, (1.25, 1.25, 1.25, 1.0)),
    "scalable_vit_base": _variant(81_881_624, 96, (2, 2, 14, 6), 3, (2.0, 1.25, 1.25, 1.0)),
    "scalable_vit_large": _variant(109_288_840, 128, (2, 6, 12, 4), 4, (0.25, 0.5, 1.0, 1.0)),
}
