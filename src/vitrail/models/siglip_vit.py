"""SigLIP ViT: "Sigmoid Loss for Language Image Pre-Training" (Zhai et al. 2023,
https://arxiv.org/abs/2303.15343).

    image (B, C, H, W)
      └ patch_embed ─ (B, N, D) + position
          └ depth × Block(Attention, Mlp with tanh GELU)
              └ norm ─ (B, N, D)
                  └ attention_pool: one query, then x + mlp(norm(x)) ─ (B, D) ─ head ─ (B, classes)

This is SigLIP's image tower. `methods/clip.py` trains it, or any other model, beside a text tower.
It differs from ViT in pooling: there is no class token; after the last block a learned query
attends to all patches once, and an MLP follows (multi-head attention pooling, Zhai et al. 2021,
https://arxiv.org/abs/2106.04560). Pixels at the far edges that fill no patch are not read: the
published tower of 384 pixels has patches of 14.
"""

from typing import Literal

from torch import Tensor, nn

from vitrail.layers.attention import Attention, CrossAttention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.mlp import ACTIVATIONS, Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import PositionTable
from vitrail.layers.tokens import Token
from vitrail.models.base import Variant
from vitrail.models.features import Features
from vitrail.models.initial import xavier_uniform_blocks
from vitrail.models.paper import Paper
from vitrail.models.tiers import SequenceBackbone
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class MAPHead(nn.Module):
    """Multi-head attention pooling (MAP): a learned query attends to all tokens; then an MLP.

    Args:
        dim: width of a token.
        heads: number of attention heads, a divisor of `dim`.
        mlp_dim: hidden width of the MLP.
        dropout: dropout rate of attention weights, projections and the MLP.
        norm_eps: epsilon of the LayerNorm.

    Example:
        >>> MAPHead(8, heads=2, mlp_dim=16)(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 8])
    """

    def __init__(
        self, dim: int, heads: int, mlp_dim: int, dropout: float = 0.0, norm_eps: float = 1e-6
    ) -> None:
        super().__init__()
        self.query = Token(1, dim)
        self.mixer = CrossAttention(dim, heads, dropout=dropout)
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = Mlp(dim, mlp_dim, dropout, activation=ACTIVATIONS["gelu_tanh"]())

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D) → (B, D)."""
        x = self.mixer(self.query(x.shape[0]), x)
        return (x + self.mlp(self.norm(x)))[:, 0]


class SigLIPViT(SequenceBackbone):
    """SigLIP's image tower, a ViT pooled by attention (Zhai et al. 2023).

    Args:
        image_size: pixels (height, width), or one number for both. Positions are learned for this
            size and resampled for any other of at least one patch.
        patch_size: pixels (height, width) of a patch, or one number for both.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token.
        depth: number of blocks.
        heads: number of attention heads, a divisor of `dim`.
        mlp_dim: hidden width of the MLP.
        channels: number of channels of an image.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        norm_eps: epsilon of every LayerNorm.
        pool: "map" for the attention pooling; "mean" averages the patches, as transformers'
            SiglipForImageClassification does.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` is smaller than a patch.

    Example:
        >>> model = SigLIPViT(32, 8, num_classes=5, dim=16, depth=2, heads=2, mlp_dim=32)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "Sigmoid Loss for Language Image Pre-Training",
        "Zhai et al.",
        2023,
        "https://arxiv.org/abs/2303.15343",
        change="A sigmoid loss per image-text pair; a learned query pools the patches.",
    )
    after_blocks = ("norm", "attention_pool", "head")

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
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        norm_eps: PositiveFloat = 1e-6,
        pool: Literal["map", "mean"] = "map",
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        self.dim, self.patch = dim, to_tuple(patch_size)
        self.grid = patch_grid(whole_patches(self.image_size, self.patch), self.patch)

        self.patch_embed = PatchEmbed(self.patch, channels, dim)
        self.position = PositionTable(self.grid, dim)
        self.emb_dropout = nn.Dropout(emb_dropout)
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
        self.attention_pool = (
            MAPHead(dim, heads, mlp_dim, dropout, norm_eps) if pool == "map" else None
        )
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions; no prefix."""
        height, width = whole_patches(tuple(images.shape[-2:]), self.patch)
        patches, grid = self.patch_embed(images[..., :height, :width])
        patches = self.emb_dropout(patches + self.position(grid))
        return Features(patches, patches[:, :0], grid)

    def pool(self, features: Features) -> Tensor:
        """Features → the output of the query's attention and the MLP, or the mean (B, D)."""
        if self.attention_pool is None:
            return features.patches.mean(dim=1)
        return self.attention_pool(features.patches)

    def init_weights(self) -> None:
        """Initializes every parameter as big_vision's code (models/vit.py) does.

        Patches start from LeCun's normal distribution, positions from a normal distribution with
        standard deviation 1 / √D, the pooling's query and the blocks from Xavier's uniform
        distribution. The head, which SigLIP's tower has not, starts as `initialize` has it.
        """
        super().init_weights()
        xavier_uniform_blocks(self)
        nn.init.normal_(self.position.weight, std=self.dim**-0.5)
        if self.attention_pool is not None:
            nn.init.xavier_uniform_(self.attention_pool.query.weight[0])  # fans of D and 1


def whole_patches(size: tuple[int, ...], patch: tuple[int, ...]) -> tuple[int, ...]:
    """The largest size that patches fill.

    Args:
        size: pixels per axis.
        patch: pixels of a patch per axis.

    Returns:
        Pixels per axis; those of `size` on an axis that is too short for one patch.

    Example:
        >>> whole_patches((30, 43), (8, 8))
        (24, 40)
    """
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
