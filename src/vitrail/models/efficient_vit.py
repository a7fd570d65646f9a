"""ViX: "Vision Xformers: Efficient Attention for Image Classification" (Jeevan & Sethi 2021,
https://arxiv.org/abs/2107.02239).

    image (B, C, H, W)
      └ patch_embed ─ (B, N, D) + position
          └ [class token, patches] ─ (B, 1 + N, D)
              └ depth × Block(Linformer | Nystrom | Performer | Mamba | Attention, Mlp)
                  └ norm ─ class token ─ (B, D) ─ head ─ (B, classes)

Differs from ViT in what mixes the tokens: at a cost that grows linearly with their number, so that
patches may be small or images large. The mixers are Linformer's and Performer's, Nyströmformer's,
and Mamba in both directions; each is described where it stands, in `layers/`. Two later papers call
other networks EfficientViT (https://arxiv.org/abs/2205.14756, https://arxiv.org/abs/2305.07027).
"""

from typing import Any

from torch import Tensor, nn

from vitrail.errors import ConfigError, check_choice
from vitrail.layers.attention import Attention, divide
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.linear_attention import Linformer, Nystrom, Performer
from vitrail.layers.mamba import Mamba
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import Size
from vitrail.models.base import Backbone, Features, Variant
from vitrail.models.paper import Paper
from vitrail.models.vit_base import PlainViT

MIXERS = ("linformer", "nystrom", "performer", "mamba", "attention")


class EfficientViT(PlainViT):
    """A Vision Transformer with another mixer in place of attention.

    mixer: "linformer", "nystrom", "performer", "mamba" (which has no heads), or "attention".
    rank: how many sums Linformer attends to, landmarks Nyströmformer has, or random features a
        head of Performer; the others have no use for it.
    The other keywords as those of `ViT`.
    """

    paper = Paper(
        "Vision Xformers: Efficient Attention for Image Classification",
        "Jeevan & Sethi",
        2021,
        "https://arxiv.org/abs/2107.02239",
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
        mixer: str = "nystrom",
        rank: int = 64,
        channels: int = 3,
        pool: str = "cls",
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(image_size, patch_size, num_classes, dim, channels, pool, emb_dropout)
        check_choice("mixer", mixer, MIXERS)
        if rank < 1:
            raise ConfigError(f"rank={rank} is not at least 1.")
        self.mixer_kind, head_dim = mixer, divide(dim, heads)

        def mixing(layer: int) -> nn.Module:
            if mixer == "linformer":
                prefix = 1 if pool == "cls" else 0
                return Linformer(dim, heads, self.grid, prefix=prefix, rank=rank, dropout=dropout)
            if mixer == "mamba":
                return Mamba(dim, "v2")
            attend = {
                "nystrom": lambda: Nystrom(heads, rank),
                "performer": lambda: Performer(head_dim, rank, seed=layer),
                "attention": lambda: None,
            }[mixer]()
            return Attention(dim, heads, dropout=dropout, attend=attend)

        self.blocks = nn.ModuleList(
            Block(dim, mixing(i), Mlp(dim, mlp_dim, dropout), drop_path=rate, norm_eps=norm_eps)
            for i, rate in enumerate(drop_path_rates(drop_path, depth))
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)

    def context(self, features: Features) -> tuple[Any, ...]:
        """Linformer weighs tokens by their places; the others need to know nothing."""
        return (features.grid, features.keep_indices) if self.mixer_kind == "linformer" else ()

    def weights_for(self, other: Backbone) -> dict[str, Tensor]:
        """With positions, Linformer's sums are resampled too."""
        weights = {**self.state_dict(), "position": self.positions_at(other.grid)}
        for name, module in self.named_modules():
            if isinstance(module, Linformer):
                weights[f"{name}.sums"] = module.sums_at(other.grid)
        return weights


def _variant(mixer: str, rank: int, parameters: int) -> Variant:
    keywords = {
        "image_size": 224, "patch_size": 16, "num_classes": 1000,
        "dim": 384, "depth": 12, "heads": 6, "mlp_dim": 1536, "mixer": mixer, "rank": rank,
    }  # fmt: skip
    return Variant(keywords, parameters)


# ViT-S/16 less its class token's position, with 12 other mixers. Performer's m is its authors'
# d log d. None of these was published.
VIT = 22_050_664 - 384
VARIANTS = {
    "vit_nystrom_small_patch16_224": _variant("nystrom", 64, VIT + 12 * 6 * 33),
    "vit_performer_small_patch16_224": _variant("performer", 266, VIT),
    "vit_linformer_small_patch16_224": _variant(
        "linformer", 64, VIT + 12 * (2 * 197 * 64 - 3 * 384)
    ),
    "vit_mamba_small_patch16_224": _variant("mamba", 64, 27_469_288),
}
