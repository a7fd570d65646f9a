"""CaiT: "Going deeper with Image Transformers" (Touvron et al. 2021,
https://arxiv.org/abs/2103.17239).

    image (B, C, H, W)
      └ patch_embed ─ (B, N, D) + position
          └ depth × Block(Attention with talking heads, Mlp)
              └ [class token, patches] ─ (B, 1 + N, D)
                  └ class_depth × ClassAttentionBlock(class attention, Mlp)
                      └ norm ─ class token ─ (B, D) ─ head ─ (B, classes)

CaiT differs from ViT in three points. LayerScale scales every residual branch, so that deep models
train. The heads of a block exchange logits before the softmax and weights after it. The class token
enters after the blocks of the patches: from then on the patches stay as they are, and the class
token attends to them.

The mixed logits have a bias, as in the authors' code. It adds the same number to the logits of all
keys, which a softmax ignores.

vit-pytorch's CaiT differs from the paper: its LayerScale starts from a value that depends on the
block's index instead of the depth, its class token attends to patches that are not normalized, its
class attention mixes heads too, and it drops layers at inference.
"""

from typing import Any

import torch
from torch import Tensor, nn

from vitrail.layers.attention import Attend, Attention, CrossAttention, divide
from vitrail.layers.block import Block
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import PositionTable
from vitrail.layers.tokens import Token
from vitrail.models.base import Variant
from vitrail.models.features import Features, TokenSequence
from vitrail.models.paper import Paper
from vitrail.models.tiers import SequenceBackbone
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class TalkingHeads(nn.Module):
    """Mixes attention maps over the heads (Shazeer et al. 2020, https://arxiv.org/abs/2003.02436).

    Each map of the output is a linear combination of the maps of all heads.

    Args:
        heads: number of attention heads.

    Example:
        >>> TalkingHeads(3)(torch.zeros(1, 3, 5, 5)).shape
        torch.Size([1, 3, 5, 5])
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(heads, heads))
        self.bias = nn.Parameter(torch.empty(heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initializes as a linear layer of the authors' code."""
        nn.init.trunc_normal_(self.weight, std=0.02)
        nn.init.zeros_(self.bias)

    def forward(self, maps: Tensor) -> Tensor:
        """maps (B, H, N, M) → (B, H, N, M)."""
        mixture, flat = self.weight.expand(maps.shape[0], -1, -1), maps.flatten(2)
        return torch.baddbmm(self.bias[:, None], mixture, flat).view_as(maps)


class ClassAttentionBlock(Block):
    """A block that changes the class token only, which attends to itself and to all patches.

    Example:
        >>> block = ClassAttentionBlock(8, CrossAttention(8, heads=2), Mlp(8, 16))
        >>> block(torch.zeros(1, 1, 8), torch.zeros(1, 4, 8)).shape
        torch.Size([1, 1, 8])
    """

    def forward(self, x: Tensor, *patches: Any) -> Tensor:
        """x (B, 1, D), the class token, and patches (B, N, D) → class token (B, 1, D)."""
        tokens = self.norm1(torch.cat([x, *patches], dim=1))
        x = x + self.drop_path(self.scale1(self.mixer(tokens[:, :1], tokens)))
        return x + self.drop_path(self.scale2(self.mlp(self.norm2(x))))


class CaiT(SequenceBackbone):
    """Vision Transformer with LayerScale, talking heads and class attention (Touvron et al. 2021).

    Args:
        image_size: pixels (height, width), or one number for both. Positions are learned for this
            size and resampled for any other that patches divide.
        patch_size: pixels (height, width) of a patch, or one number for both.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token.
        depth: number of blocks of the patches.
        heads: number of attention heads, a divisor of `dim`.
        mlp_dim: hidden width of the MLP.
        class_depth: number of blocks of the class token, after those of the patches.
        channels: number of channels of an image.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded patches.
        drop_path: stochastic depth rate of every block of the patches.
        layer_scale: initial factor of LayerScale; in the paper 0.1 up to 18 blocks, 1e-5 up to 24,
            1e-6 beyond.
        norm_eps: epsilon of every LayerNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> model = CaiT(32, 8, num_classes=5, dim=16, depth=2, heads=2, mlp_dim=32)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "Going deeper with Image Transformers",
        "Touvron et al.",
        2021,
        "https://arxiv.org/abs/2103.17239",
        change="LayerScale for deep models; the class token enters in the last layers.",
    )
    after_blocks = ("class_token", "class_blocks", "norm", "head")

    def __init__(
        self,
        image_size: Size,
        patch_size: Size,
        num_classes: NonNegativeInt,
        dim: PositiveInt,
        depth: PositiveInt,
        heads: PositiveInt,
        mlp_dim: PositiveInt,
        class_depth: PositiveInt = 2,
        channels: PositiveInt = 3,
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        layer_scale: float = 1e-5,
        norm_eps: PositiveFloat = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        divide(dim, heads)  # before heads are mixed
        patch = to_tuple(patch_size)
        self.dim = dim
        self.grid = patch_grid(self.image_size, patch)

        def talking() -> Attention:
            before, after = TalkingHeads(heads), TalkingHeads(heads)
            attend = Attend(dropout, before=before, after=after)
            return Attention(dim, heads, dropout=dropout, attend=attend)

        self.patch_embed = PatchEmbed(patch, channels, dim, init="torch")
        self.position = PositionTable(self.grid, dim)
        self.emb_dropout = nn.Dropout(emb_dropout)
        scaled: dict[str, Any] = {"layer_scale": layer_scale, "norm_eps": norm_eps}
        self.blocks = nn.ModuleList(
            Block(dim, talking(), Mlp(dim, mlp_dim, dropout), drop_path=drop_path, **scaled)
            for _ in range(depth)
        )
        self.class_token = Token(1, dim)
        self.class_blocks = nn.ModuleList(
            ClassAttentionBlock(
                dim,
                CrossAttention(dim, heads, dropout=dropout),
                Mlp(dim, mlp_dim, dropout),
                **scaled,
            )
            for _ in range(class_depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions, prefix (B, 1, D)."""
        patches, grid = self.patch_embed(images)
        patches = self.emb_dropout(patches + self.position(grid))
        return Features(patches, self.class_token(patches.shape[0]), grid)

    def to_sequence(self, features: Features) -> TokenSequence:
        """Features → the patches alone, which are all that `blocks` see."""
        return self.augmented(
            TokenSequence(features.patches, (), lambda patches: features._replace(patches=patches)),
            prefix=0,
        )

    def encode(self, features: Features) -> Features:
        """Features → Features of the same shapes, normalized."""
        tokens, _, to_features = self.to_sequence(features)
        patches, token = to_features(self.run_blocks(tokens)).patches, features.prefix
        for block in self.class_blocks:
            token = block(token, patches)
        return features._replace(patches=self.norm(patches), prefix=self.norm(token))

    def pool(self, features: Features) -> Tensor:
        """Features → the class token (B, D)."""
        return features.prefix[:, 0]


def _variant(
    parameters: int, size: int, dim: int, depth: int, layer_scale: float = 1e-5
) -> Variant:
    heads = dim // 48
    keywords = {
        "image_size": size, "patch_size": 16, "num_classes": 1000,
        "dim": dim, "depth": depth, "heads": heads, "mlp_dim": 4 * dim, "layer_scale": layer_scale,
    }  # fmt: skip
    return Variant(keywords, parameters)


VARIANTS = {
    "cait_xxs24_224": _variant(11_956_264, 224, 192, 24),
    "cait_xxs24_384": _variant(12_029_224, 384, 192, 24),
    "cait_xxs36_224": _variant(17_299_720, 224, 192, 36),
    "cait_xxs36_384": _variant(17_372_680, 384, 192, 36),
    "cait_xs24_384": _variant(26_670_088, 384, 288, 24),
    "cait_s24_224": _variant(46_916_200, 224, 384, 24),
    "cait_s24_384": _variant(47_062_120, 384, 384, 24),
    "cait_s36_384": _variant(68_366_632, 384, 384, 36, 1e-6),
    "cait_m36_384": _variant(271_221_352, 384, 768, 36, 1e-6),
    "cait_m48_448": _variant(356_460_520, 448, 768, 48, 1e-6),
}
