"""XCiT: "XCiT: Cross-Covariance Image Transformers" (El-Nouby et al. 2021,
https://arxiv.org/abs/2106.09681).

    image (B, C, H, W)
      └ convolutions with stride 2, 4 for patches of 16 ─ map (B, H/16, W/16, D) + position
          └ depth × [CrossCovariance, LocalPatchInteraction, Mlp], each a residual branch
              └ [class token, patches] ─ (B, 1 + N, D)
                  └ class_depth × ClassBlock(class attention, Mlp)
                      └ norm ─ class token ─ (B, D) ─ head ─ (B, classes)

Differs from ViT: channels attend to channels. A head's map is (d, d), however many tokens there
are, so cost grows linearly with the image; its softmax is not over tokens, and there is nothing to
record. Two depthwise convolutions let neighbours meet. Positions are sines of the place relative to
the image's size, projected. The class token enters at the end, as in CaiT.

The class stage is the authors' code, which public weights need, and not CaiT's: it normalises the
residual stream itself and changes patches on the way. What it makes of them is seen by the class
token alone; the patches given to others are those of the last block, normalised.
"""

import itertools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.attention import CrossAttention, divide
from vitrail.layers.block import Block, DropPath, LayerScale
from vitrail.layers.conv import ConvNorm, DepthwiseConv
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import Size, check_images
from vitrail.models.base import Backbone, Features, PyramidStage, Variant
from vitrail.models.paper import Paper


class CrossCovariance(nn.Module):
    """softmax(k̂ᵀ q̂ / τ) over the channels of each head, with k̂ and q̂ of length 1 over tokens."""

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        divide(dim, heads)
        self.heads = heads
        self.qkv = Linear(dim, 3 * dim)
        self.temperature = nn.Parameter(torch.empty(heads))  # 1 / τ
        self.proj = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """τ = 1."""
        nn.init.ones_(self.temperature)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        qkv = self.qkv(x.flatten(1, 2)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 4, 1)  # (B, heads, d, N) each
        logits = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        weights = (logits * self.temperature[:, None, None]).softmax(dim=-1)
        out = (self.dropout(weights) @ v).permute(0, 3, 1, 2)
        return self.dropout(self.proj(out.reshape(x.shape)))


class LocalPatchInteraction(nn.Module):
    """Two depthwise 3 × 3 convolutions, GELU and batch norm between."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = DepthwiseConv(dim)
        self.norm = nn.BatchNorm2d(dim)
        self.conv2 = DepthwiseConv(dim)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        x = F.gelu(self.conv1(x)).permute(0, 3, 1, 2)
        return self.conv2(self.norm(x).permute(0, 2, 3, 1))


class Residual(nn.Module):
    """x + scale · branch(norm(x))."""

    def __init__(
        self, dim: int, branch: nn.Module, drop_path: float, layer_scale: float, norm_eps: float
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.branch = branch
        self.scale = LayerScale(dim, layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) → (..., D)."""
        return x + self.drop_path(self.scale(self.branch(self.norm(x))))


class ClassBlock(Block):
    """Class attention as the authors wrote it. `norm_all`: `norm2` normalises patches too."""

    norm_all = True

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        """x (B, 1 + N, D), class token first → (B, 1 + N, D)."""
        normed = self.norm1(x)
        x = x + self.scale1(torch.cat([self.mixer(normed[:, :1], normed), normed[:, 1:]], dim=1))
        token, patches = self.norm2(x[:, :1]), x[:, 1:]
        patches = self.norm2(patches) if self.norm_all else patches
        return torch.cat([token + self.scale2(self.mlp(token)), 2 * patches], dim=1)


class FourierPositions(nn.Module):
    """Sines and cosines of each place, rows from 1 / H to 1 and columns alike, projected to D.

    Any grid covers one turn of the slowest frequency, so a finer grid is the same picture.
    """

    def __init__(self, dim: int, waves: int = 16) -> None:
        super().__init__()
        self.waves = waves  # of each axis, and of each a sine and a cosine
        self.proj = nn.Linear(4 * waves, dim)

    def forward(self, grid: tuple[int, ...]) -> Tensor:
        """(H, W) → (H, W, D)."""
        # In float32, as the authors' code, also where the model is more or less precise.
        device = self.proj.weight.device
        periods = 10_000.0 ** (torch.arange(self.waves, device=device) / self.waves)
        axes = []
        for side in grid:
            turns = torch.arange(1, side + 1, device=device) / (side + 1e-6)
            angles = (turns * (2 * math.pi))[:, None] / periods
            axes.append(torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1))
        rows, columns = axes[0][:, None].expand(-1, grid[1], -1), axes[1].expand(grid[0], -1, -1)
        return self.proj(torch.cat([rows, columns], dim=-1).to(self.proj.weight))


class XCiT(Backbone):
    """A Cross-Covariance Image Transformer.

    Args:
        patch_size: pixels (square) a token stands for, a power of two. Images of any size.
        depth, class_depth: blocks of the patches, and of the class token after them.
        layer_scale: initial factor of residual branches: 1 for 12 blocks, 1e-5 for 24.
        norm_all: whether the second norm of the class stage is for patches too; in all public
            weights but those of xcit_nano.
        drop_path: of every block of patches alike. The rest as in `ViT`.
    """

    paper = Paper(
        "XCiT: Cross-Covariance Image Transformers",
        "El-Nouby et al.",
        2021,
        "https://arxiv.org/abs/2106.09681",
    )

    late = ("class_token", "class_blocks", "norm", "head")

    def __init__(
        self,
        image_size: Size,
        patch_size: int,
        num_classes: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
        class_depth: int = 2,
        channels: int = 3,
        norm_all: bool = True,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        layer_scale: float = 1.0,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        halvings = patch_size.bit_length() - 1
        if halvings < 1 or patch_size != 2**halvings or 2 * dim % patch_size:
            raise ConfigError(
                f"patch_size={patch_size} with dim={dim}: convolutions that halve the image and "
                "double the channels need a power of two that divides 2 dim, such as 8 or 16."
            )
        self.dim = dim
        self.grid = tuple(-(-side // patch_size) for side in self.image_size)

        widths = [channels, *(dim >> i for i in reversed(range(halvings)))]
        self.patch_embed = nn.Sequential(
            *(
                ConvNorm(c, d, 3, 2, activation=nn.GELU() if d < dim else None)
                for c, d in itertools.pairwise(widths)
            )
        )
        self.positions = FourierPositions(dim)
        self.emb_dropout = nn.Dropout(emb_dropout)

        def mlp() -> Mlp:
            return Mlp(dim, mlp_dim, dropout)

        def stage() -> PyramidStage:
            branches = (CrossCovariance(dim, heads, dropout), LocalPatchInteraction(dim), mlp())
            return PyramidStage(
                nn.Identity(),
                (Residual(dim, branch, drop_path, layer_scale, norm_eps) for branch in branches),
            )

        self.blocks = nn.ModuleList(stage() for _ in range(depth))
        self.class_token = nn.Parameter(torch.empty(1, 1, dim))
        scaled: dict[str, Any] = {"layer_scale": layer_scale, "norm_eps": norm_eps}
        class_blocks = [
            ClassBlock(dim, CrossAttention(dim, heads, dropout=dropout), mlp(), **scaled)
            for _ in range(class_depth)
        ]
        for block in class_blocks:
            block.norm_all = norm_all
        self.class_blocks = nn.ModuleList(class_blocks)
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions, no prefix."""
        check_images(images, self.channels)
        images = images.contiguous(memory_format=torch.channels_last)  # so is what follows
        x = self.patch_embed(images).permute(0, 2, 3, 1)
        return Features.from_map(self.emb_dropout(x + self.positions(x.shape[1:3])))

    def encode(self, features: Features) -> Features:
        """Features → normalised Features, with a class token that has read the patches."""
        self.needs_all(features)
        features = self.run_blocks(features)
        token = self.class_token.expand(features.patches.shape[0], -1, -1)
        tokens = torch.cat([token, features.patches], dim=1)
        for block in self.class_blocks:
            tokens = block(tokens)
        patches, prefix = self.norm(features.patches), self.norm(tokens[:, :1])
        return features._replace(patches=patches, prefix=prefix)

    def pool(self, features: Features) -> Tensor:
        """Features → the class token (B, D)."""
        return features.prefix[:, 0]


def _variant(
    parameters: int, dim: int, depth: int, heads: int, patch: int, size: int, norm_all: bool
) -> Variant:
    keywords: dict[str, Any] = {
        "image_size": size, "patch_size": patch, "num_classes": 1000,
        "dim": dim, "depth": depth, "heads": heads, "mlp_dim": 4 * dim,
        "norm_all": norm_all, "layer_scale": 1.0 if depth == 12 else 1e-5,
    }  # fmt: skip
    return Variant(keywords, parameters)


# Name, dim, heads, published parameters with patches of 16 and of 8.
SIZES = (
    ("nano_12", 128, 4, 3_053_224, 3_049_016),
    ("tiny_12", 192, 4, 6_716_272, 6_706_504),
    ("tiny_24", 192, 4, 12_116_896, 12_107_128),
    ("small_12", 384, 8, 26_253_304, 26_213_032),
    ("small_24", 384, 8, 47_671_384, 47_631_112),
    ("medium_24", 512, 8, 84_395_752, 84_323_624),
    ("large_24", 768, 16, 189_096_136, 188_932_648),
)
VARIANTS = {
    f"xcit_{name}_p{patch}_{size}": _variant(
        counts[patch == 8], dim, int(name[-2:]), heads, patch, size, name != "nano_12"
    )
    for name, dim, heads, *counts in SIZES
    for patch in (16, 8)
    for size in (224, 384)
}
