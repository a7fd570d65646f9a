"""DeepViT: "DeepViT: Towards Deeper Vision Transformer" (Zhou et al. 2021,
https://arxiv.org/abs/2103.11886).

    image (B, C, H, W)
      └ patch_embed ─ (B, N, D) + position
          └ [class token, patches] ─ (B, 1 + N, D)
              └ depth × Block(ReAttention, Mlp)
                  └ norm ─ class token ─ (B, D) ─ head ─ (B, classes)

Differs from ViT: deep in a ViT the maps of attention become the same from block to block, and more
blocks learn nothing more. Heads of one block still differ, so re-attention makes new maps out of
them: Norm(Θᵀ softmax(q kᵀ / √d)) v, with Θ (H, H) learned. The paper leaves the norm open. The
authors' code takes a batch norm, which lets the samples of a batch see each other; here each
pair of tokens is normalised over its heads, as in vit-pytorch. Θ needs no bias before a norm, and
the class token no position of its own (see `vit.py`): depth · H and D of the published parameters
are absent.
"""

import torch
from torch import Tensor, nn

from vitrail.layers.attention import Attend, Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import Size
from vitrail.models.base import Variant
from vitrail.models.paper import Paper
from vitrail.models.vit_base import PlainViT


class ReAttention(nn.Module):
    """Norm(Θᵀ A): new weights out of those of all heads, normalised over the heads.

    Heads stay where they are, before the tokens, so that their mixture is one matrix product. A
    mean over heads is linear: it is taken out of Θ once, not out of every pair of tokens.
    """

    def __init__(self, heads: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.theta = nn.Parameter(torch.empty(heads, heads))
        self.weight = nn.Parameter(torch.empty(heads))
        self.bias = nn.Parameter(torch.empty(heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Θ normal, the norm neutral."""
        nn.init.normal_(self.theta)
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, weights: Tensor) -> Tensor:
        """weights (B, H, N, M) → (B, H, N, M)."""
        theta = (self.theta - self.theta.mean(dim=1, keepdim=True)).T
        mixed = torch.bmm(theta.expand(weights.shape[0], -1, -1), weights.flatten(2))
        scale = (mixed.square().mean(dim=1, keepdim=True) + self.eps).rsqrt()
        if torch.is_grad_enabled():
            mixed = mixed * scale * self.weight[:, None]
        else:  # in place: maps are large, and new memory costs more than the arithmetic
            mixed.mul_(scale).mul_(self.weight[:, None])
        return mixed.add_(self.bias[:, None]).view_as(weights)


class DeepViT(PlainViT):
    """A Vision Transformer with re-attention. Keywords as those of `ViT`."""

    paper = Paper(
        "DeepViT: Towards Deeper Vision Transformer",
        "Zhou et al.",
        2021,
        "https://arxiv.org/abs/2103.11886",
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
    return Variant(keywords, parameters, absent=depth * 12 + 384)


VARIANTS = {
    "deepvit_16_patch16_224": _variant(24_426_664, 16),
    "deepvit_24_patch16_224": _variant(36_261_448, 24),
    "deepvit_32_patch16_224": _variant(48_096_232, 32),
}
