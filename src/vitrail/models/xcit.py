"""XCiT: "XCiT: Cross-Covariance Image Transformers" (El-Nouby et al. 2021,
https://arxiv.org/abs/2106.09681).

    image (B, C, H, W)
      └ convolutions with stride 2, 4 for patches of 16 ─ map (B, H/16, W/16, D) + position
          └ depth × [CrossCovariance, LocalPatchInteraction, Mlp], each a residual branch
              └ [class token, patches] ─ (B, 1 + N, D)
                  └ class_depth × XCiTClassBlock(class attention, Mlp)
                      └ norm ─ class token ─ (B, D) ─ head ─ (B, classes)

XCiT differs from ViT in its attention, which is between channels. The attention map of a head is
(d, d) for any number of tokens, so the cost grows linearly with the image. Its softmax is not over
tokens, so there is no map to record. Two depthwise convolutions mix neighboring patches. Positions
are sines of the coordinates relative to the image's size, projected. The class token enters at the
end, as in CaiT.

The class blocks follow the authors' code, which public weights need, and differ from CaiT's: they
normalize the residual stream itself and change the patches. Only the class token reads these
changes. The patches in `Features` are those of the last block, normalized.
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
from vitrail.layers.conv import ConvNorm, DepthwiseConv, channels_last
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import check_images
from vitrail.layers.tokens import Token
from vitrail.models.base import Backbone, Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.tiers import PyramidStage
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class CrossCovariance(nn.Module):
    """Cross-covariance attention (XCA): softmax(t · k̂ᵀ q̂) over the channels of each head.

    k̂ and q̂ are keys and queries, scaled to length 1 over the tokens. t is a learned factor per
    head, the inverse of the paper's temperature τ.

    Args:
        dim: width of a token.
        heads: number of heads, a divisor of `dim`.
        dropout: dropout rate of the attention weights and of the output.

    Raises:
        ConfigError: `heads` does not divide `dim`.

    Example:
        >>> CrossCovariance(8, heads=2)(torch.zeros(1, 4, 4, 8)).shape
        torch.Size([1, 4, 4, 8])
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        divide(dim, heads)
        self.heads = heads
        self.qkv = Linear(dim, 3 * dim)
        self.temperature = nn.Parameter(torch.empty(heads))  # the authors' name for 1 / τ
        self.proj = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets every temperature to 1."""
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
    """Local patch interaction (LPI): two depthwise 3 × 3 convolutions, GELU and batch norm between.

    Args:
        dim: width of a token.

    Example:
        >>> LocalPatchInteraction(8)(torch.zeros(1, 4, 4, 8)).shape
        torch.Size([1, 4, 4, 8])
    """

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
    """A residual branch: x + scale · branch(norm(x)).

    Args:
        dim: width of a token.
        branch: module from (B, H, W, D) to the same shape.
        drop_path: rate of stochastic depth.
        layer_scale: initial value of the learned factor per channel.
        norm_eps: epsilon of the LayerNorm.

    Example:
        >>> Residual(8, nn.Identity(), 0.0, 1.0, 1e-6)(torch.zeros(1, 4, 4, 8)).shape
        torch.Size([1, 4, 4, 8])
    """

    def __init__(
        self, dim: int, branch: nn.Module, drop_path: float, layer_scale: float, norm_eps: float
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.branch = branch
        self.scale = LayerScale(dim, layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, D) → (B, H, W, D)."""
        return x + self.drop_path(self.scale(self.branch(self.norm(x))))


class XCiTClassBlock(Block):
    """Class attention as in the authors' code.

    Args:
        dim: width of a token.
        mixer: module called with the class token (B, 1, D) and all tokens (B, 1 + N, D).
        mlp: module applied to the class token.
        norm_all: whether the second norm is applied to the patches, too.
        layer_scale: initial value of a learned factor per channel on each branch.
        norm_eps: epsilon of the LayerNorms.

    Example:
        >>> mixer, mlp = CrossAttention(8, heads=2), Mlp(8, 16)
        >>> block = XCiTClassBlock(8, mixer, mlp, norm_all=True, layer_scale=1.0, norm_eps=1e-6)
        >>> block(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        mixer: nn.Module,
        mlp: nn.Module,
        *,
        norm_all: bool,
        layer_scale: float,
        norm_eps: float,
    ) -> None:
        super().__init__(dim, mixer, mlp, layer_scale=layer_scale, norm_eps=norm_eps)
        self.norm_all = norm_all

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        """x (B, 1 + N, D), class token first → (B, 1 + N, D)."""
        normed = self.norm1(x)
        mixed = torch.cat([self.mixer(normed[:, :1], normed), normed[:, 1:]], dim=1)
        x = x + self.drop_path(self.scale1(mixed))
        token, patches = self.norm2(x[:, :1]), x[:, 1:]
        patches = self.norm2(patches) if self.norm_all else patches
        token = token + self.drop_path(self.scale2(self.mlp(token)))
        return torch.cat([token, 2 * patches], dim=1)  # the authors add the patches to themselves


class FourierPositions(nn.Module):
    """Sines and cosines of each patch's row and column, projected to the width of a token.

    Rows go from 1 / H to 1 and columns alike, so a finer grid covers the same angles.

    Args:
        dim: width of a token.
        frequencies: number of frequencies per axis; each has a sine and a cosine.

    Example:
        >>> FourierPositions(8)((2, 3)).shape
        torch.Size([2, 3, 8])
    """

    def __init__(self, dim: int, frequencies: int = 16) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.proj = nn.Linear(4 * frequencies, dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Starts the projection as PyTorch does, as the authors' 1 × 1 convolution."""
        self.proj.reset_parameters()

    def forward(self, grid: tuple[int, ...]) -> Tensor:
        """grid (H, W) → positions (H, W, D)."""
        # In float32 for any dtype of the model, as in the authors' code.
        like: dict[str, Any] = {"device": self.proj.weight.device, "dtype": torch.float32}
        periods = 10_000.0 ** (torch.arange(self.frequencies, **like) / self.frequencies)
        axes = []
        for side in grid:
            coordinates = torch.arange(1, side + 1, **like) / (side + 1e-6)
            angles = (coordinates * (2 * math.pi))[:, None] / periods
            axes.append(torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1))
        rows, columns = axes[0][:, None].expand(-1, grid[1], -1), axes[1].expand(grid[0], -1, -1)
        return self.proj(torch.cat([rows, columns], dim=-1).to(self.proj.weight))


class XCiT(Backbone):
    """Cross-Covariance Image Transformer (El-Nouby et al. 2021).

    Args:
        image_size: pixels (height, width), or one number for both. Any size works.
        patch_size: side of the square of pixels that a token stands for, a power of two.
        num_classes: width of the logits; 0 for no head, so that `forward` gives pooled features.
        dim: width of a token; 2 · dim is a multiple of `patch_size`.
        depth: number of blocks on the patches.
        heads: number of attention heads, a divisor of `dim`.
        mlp_dim: hidden width of the MLP.
        class_depth: number of class blocks after them.
        channels: number of channels of an image.
        norm_all: whether the second norm of the class blocks is for the patches, too. It is in all
            public weights but those of xcit_nano.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded patches.
        drop_path: stochastic depth rate, the same for all blocks on the patches.
        layer_scale: initial factor of the residual branches: 1 for 12 blocks, 1e-5 for 24.
        norm_eps: epsilon of every LayerNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.

    Example:
        >>> model = XCiT(32, 8, num_classes=5, dim=16, depth=1, heads=2, mlp_dim=32)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "XCiT: Cross-Covariance Image Transformers",
        "El-Nouby et al.",
        2021,
        "https://arxiv.org/abs/2106.09681",
        change="Attention between channels, not tokens: linear in the number of tokens.",
    )
    after_blocks = ("class_token", "class_blocks", "norm", "head")

    def __init__(
        self,
        image_size: Size,
        patch_size: PositiveInt,
        num_classes: NonNegativeInt,
        dim: PositiveInt,
        depth: PositiveInt,
        heads: PositiveInt,
        mlp_dim: PositiveInt,
        class_depth: PositiveInt = 2,
        channels: PositiveInt = 3,
        norm_all: bool = True,
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        layer_scale: float = 1.0,
        norm_eps: PositiveFloat = 1e-6,
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

        def block() -> PyramidStage:
            branches = (
                CrossCovariance(dim, heads, dropout),
                LocalPatchInteraction(dim),
                Mlp(dim, mlp_dim, dropout),
            )
            residuals = [
                Residual(dim, branch, drop_path, layer_scale, norm_eps) for branch in branches
            ]
            return PyramidStage(nn.Identity(), residuals)

        self.blocks = nn.ModuleList(block() for _ in range(depth))
        self.class_token = Token(1, dim)
        self.class_blocks = nn.ModuleList(
            XCiTClassBlock(
                dim,
                CrossAttention(dim, heads, dropout=dropout),
                Mlp(dim, mlp_dim, dropout),
                norm_all=norm_all,
                layer_scale=layer_scale,
                norm_eps=norm_eps,
            )
            for _ in range(class_depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions, no prefix."""
        check_images(images, self.channels)
        # Channels last is then the layout of every map.
        images = channels_last(images)
        x = self.patch_embed(images).permute(0, 2, 3, 1)
        return Features.from_map(self.emb_dropout(x + self.positions(x.shape[1:3])))

    def encode(self, features: Features) -> Features:
        """Features → normalized Features, with a class token that has read the patches."""
        self.require_whole_grid(features)
        features = self.run_blocks(features)
        tokens = torch.cat([self.class_token(features.patches.shape[0]), features.patches], dim=1)
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
