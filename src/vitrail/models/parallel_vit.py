"""Parallel ViT: "Three things everyone should know about Vision Transformers" (Touvron et al. 2022,
https://arxiv.org/abs/2203.09795).

    image (B, C, H, W)
      └ patch_embed ─ (B, N, D) + position
          └ [class token, patches] ─ x (B, 1 + N, D)
              └ depth × x + attention₁(x) + attention₂(x), then x + mlp₁(x) + mlp₂(x)
                  └ norm ─ class token ─ (B, D) ─ head ─ (B, classes)

Differs from ViT: of two blocks in a row, the second hardly needs what the first has just added, so
both may read the same x, and half the depth does the work of the whole. Every branch has a norm, a
LayerScale and a stochastic depth of its own. The class token has no position of its own (see
`vit.py`): D of the published parameters is absent.
"""

from collections import abc

from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.attention import Attention
from vitrail.layers.block import DropPath, LayerScale, drop_path_rates
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import Size
from vitrail.models.base import Variant
from vitrail.models.paper import Paper
from vitrail.models.vit_base import PlainViT


class Branch(nn.Module):
    """What one mixer or MLP adds to the tokens."""

    def __init__(
        self,
        dim: int,
        layer: nn.Module,
        drop_path: float,
        layer_scale: float | None,
        norm_eps: float,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.layer = layer
        self.scale = nn.Identity() if layer_scale is None else LayerScale(dim, layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D) → (B, N, D)."""
        return self.drop_path(self.scale(self.layer(self.norm(x))))


class ParallelBlock(nn.Module):
    """x + all attentions of x, then x + all MLPs of x."""

    def __init__(self, attentions: abc.Iterable[Branch], mlps: abc.Iterable[Branch]) -> None:
        super().__init__()
        self.attentions, self.mlps = nn.ModuleList(attentions), nn.ModuleList(mlps)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, N, D) → (B, N, D)."""
        for branches in (self.attentions, self.mlps):
            same = x
            for branch in branches:
                x = x + branch(same)
        return x


class ParallelViT(PlainViT):
    """A Vision Transformer of `branches` branches side by side.

    The other keywords as those of `ViT`; `layer_scale` is its initial factor, None for none.
    """

    paper = Paper(
        "Three things everyone should know about Vision Transformers",
        "Touvron et al.",
        2022,
        "https://arxiv.org/abs/2203.09795",
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
        branches: int = 2,
        channels: int = 3,
        pool: str = "cls",
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(image_size, patch_size, num_classes, dim, channels, pool, emb_dropout)
        if branches < 1:
            raise ConfigError(f"branches={branches} is not at least 1.")

        def several(make: abc.Callable[[], nn.Module], rate: float) -> list[Branch]:
            return [Branch(dim, make(), rate, layer_scale, norm_eps) for _ in range(branches)]

        self.blocks = nn.ModuleList(
            ParallelBlock(
                several(lambda: Attention(dim, heads, dropout=dropout), rate),
                several(lambda: Mlp(dim, mlp_dim, dropout), rate),
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)


def _variant(parameters: int, dim: int, heads: int) -> Variant:
    keywords = {
        "image_size": 224, "patch_size": 16, "num_classes": 1000, "layer_scale": 1e-5,
        "dim": dim, "depth": 18, "heads": heads, "mlp_dim": 4 * dim, "branches": 2,
    }  # fmt: skip
    return Variant(keywords, parameters, absent=dim)


VARIANTS = {
    "vit_small_patch16_18x2_224": _variant(64_665_448, 384, 6),
    "vit_base_patch16_18x2_224": _variant(256_731_880, 768, 12),
}
