"""DeepViT: "DeepViT: Towards Deeper Vision Transformer" (Zhou et al. 2021,
https://arxiv.org/abs/2103.11886).

    image (B, C, H, W)
      └ patch_embed ─ (B, N, D)
          └ [class token, patches] + position ─ (B, 1 + N, D)
              └ depth × Block(Attention with re-attention, Mlp)
                  └ norm ─ class token ─ (B, D) ─ head ─ (B, classes)

DeepViT differs from ViT in its attention maps. In a deep ViT the maps of later blocks become the
same, and further blocks learn nothing more, while the heads of one block still differ. Re-attention
mixes the maps of the heads: Norm(Θᵀ softmax(q kᵀ / √d)) v, with a learned Θ (H, H).

The paper does not say which norm. The authors' code has a batch norm, by which the samples of a
batch depend on each other; here each pair of tokens is normalized over the heads, as in
vit-pytorch. The authors' Θ has a bias, which their batch norm cancels. A norm over the heads does
not cancel it, so that it learns here: it starts from 0, and the model starts as vit-pytorch's.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from vitrail.layers.attention import Attend, Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.inplace import overwriting_is_safe
from vitrail.layers.mlp import Mlp
from vitrail.models.base import Variant
from vitrail.models.paper import Paper
from vitrail.models.vit_base import PlainViT
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class ReAttention(nn.Module):
    """Re-attention, Norm(Θᵀ A): mixes attention maps over the heads and normalizes over them.

    Heads stay before the tokens, so that the mixture is one matrix product. The mean over heads,
    which the norm subtracts, is linear: it is subtracted from Θ and its bias once, not from every
    pair.

    Args:
        heads: number of heads.
        eps: epsilon of the norm.

    Example:
        >>> ReAttention(3)(torch.zeros(1, 3, 5, 5)).shape
        torch.Size([1, 3, 5, 5])
    """

    def __init__(self, heads: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.theta = nn.Parameter(torch.empty(heads, heads))
        self.theta_bias = nn.Parameter(torch.empty(heads))
        self.weight = nn.Parameter(torch.empty(heads))
        self.bias = nn.Parameter(torch.empty(heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws Θ from a standard normal distribution; the norm starts from weight 1, biases 0."""
        nn.init.normal_(self.theta)
        nn.init.zeros_(self.theta_bias)
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, weights: Tensor) -> Tensor:
        """weights (B, H, N, M) → (B, H, N, M)."""
        theta = (self.theta - self.theta.mean(dim=1, keepdim=True)).T
        bias = (self.theta_bias - self.theta_bias.mean())[:, None]
        theta = theta.expand(weights.shape[0], -1, -1)
        mixed = torch.baddbmm(bias, theta, weights.flatten(2))
        scale = (mixed.square().mean(dim=1, keepdim=True) + self.eps).rsqrt()
        if overwriting_is_safe():  # maps are large, and new memory costs more than the arithmetic
            mixed.mul_(scale).mul_(self.weight[:, None])
        else:
            mixed = mixed * scale * self.weight[:, None]
        return mixed.add_(self.bias[:, None]).view_as(weights)


class DeepViT(PlainViT):
    """Vision Transformer with re-attention (Zhou et al. 2021).

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
        norm_eps: epsilon of every LayerNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> model = DeepViT(32, 8, num_classes=5, dim=16, depth=2, heads=2, mlp_dim=32)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "DeepViT: Towards Deeper Vision Transformer",
        "Zhou et al.",
        2021,
        "https://arxiv.org/abs/2103.11886",
        change="Re-attention: heads mix their weights, so deep layers stay different.",
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
        super().__init__(image_size, patch_size, num_classes, dim, channels, pool, emb_dropout)

        def re_attention() -> Attention:
            attend = Attend(dropout, after=ReAttention(heads))
            return Attention(dim, heads, dropout=dropout, attend=attend)

        self.blocks = nn.ModuleList(
            Block(
                dim, re_attention(), Mlp(dim, mlp_dim, dropout), drop_path=rate, norm_eps=norm_eps
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)


def _variant(parameters: int, depth: int) -> Variant:
    keywords = {
        "image_size": 224, "patch_size": 16, "num_classes": 1000,
        "dim": 384, "depth": depth, "heads": 12, "mlp_dim": 3 * 384,
    }  # fmt: skip
    return Variant(keywords, parameters)


VARIANTS = {
    "deepvit_16_patch16_224": _variant(24_426_664, 16),
    "deepvit_24_patch16_224": _variant(36_261_448, 24),
    "deepvit_32_patch16_224": _variant(48_096_232, 32),
}
