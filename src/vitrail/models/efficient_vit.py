"""ViX: "Vision Xformers: Efficient Attention for Image Classification" (Jeevan & Sethi 2021,
https://arxiv.org/abs/2107.02239).

    image (B, C, H, W)
      └ patch_embed ─ (B, N, D)
          └ [class token, patches] + position ─ (B, 1 + N, D)
              └ depth × Block(Linformer | Nystrom | Performer | Mamba | Attention, Mlp)
                  └ norm ─ class token ─ (B, D) ─ head ─ (B, classes)

ViX differs from ViT in the token mixer, whose cost grows linearly with the number of tokens, so
that patches may be small or images large. The mixers are Linformer, Performer, Nyströmformer and
Mamba in both directions; `layers/linear_attention.py` and `layers/mamba.py` describe them. Two
later papers call other networks EfficientViT (https://arxiv.org/abs/2205.14756,
https://arxiv.org/abs/2305.07027).
"""

from collections.abc import Callable
from typing import Literal

from torch import nn

from vitrail.layers.attention import Attention, divide
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.linear_attention import Linformer, Nystrom, Performer
from vitrail.layers.mamba import Mamba
from vitrail.layers.mixers import MixerFactory, make_mixer
from vitrail.layers.mlp import Mlp
from vitrail.layers.recording import RecordedMixer
from vitrail.models.base import Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.vit_base import PlainViT
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


class EfficientViT(PlainViT):
    """Vision Transformer whose mixer has a cost linear in the tokens (Jeevan & Sethi 2021).

    Args:
        image_size: pixels (height, width), or one number for both. Positions are learned for this
            size and resampled for any other that patches divide.
        patch_size: pixels (height, width) of a patch, or one number for both.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token.
        depth: number of blocks.
        heads: number of attention heads, a divisor of `dim`; Mamba has no heads.
        mlp_dim: hidden width of the MLP.
        mixer: "linformer", "nystrom", "performer", "mamba", or "attention" for comparison. Any
            other module from (B, N, D) to the same shape, too: a name of `register_mixer`; a
            function from `dim` to a module, called for each block; or a module, copied for each
            block. A model with one of the last two cannot be saved.
        rank: rank of the approximation of attention: Linformer's number of keys, Nyströmformer's
            number of landmarks, Performer's number of random features per head. The other mixers
            ignore it.
        channels: number of channels of an image.
        pool: "cls" reads the class token; "mean" averages the patches, without a class token.
        dropout: dropout rate of attention weights, projections and MLPs. Nyströmformer's and
            Performer's weights are never computed, and Mamba has none: of these only the
            projections after attention and the MLPs are dropped.
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        norm_eps: epsilon of every LayerNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> model = EfficientViT(32, 8, num_classes=5, dim=16, depth=2, heads=2, mlp_dim=32, rank=4)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "Vision Xformers: Efficient Attention for Image Classification",
        "Jeevan & Sethi",
        2021,
        "https://arxiv.org/abs/2107.02239",
        change="Linear attention (Performer, Linformer, Nyström) in a ViT.",
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
        mixer: Literal["nystrom", "performer", "linformer", "mamba", "attention"]
        | str
        | MixerFactory
        | nn.Module = "nystrom",
        rank: PositiveInt = 64,
        channels: PositiveInt = 3,
        pool: Literal["cls", "mean"] = "cls",
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        norm_eps: PositiveFloat = 1e-6,
    ) -> None:
        super().__init__(image_size, patch_size, num_classes, dim, channels, pool, emb_dropout)
        self.mixer_kind, head_dim = mixer, divide(dim, heads)

        def attention(attend: RecordedMixer | None = None) -> nn.Module:
            return Attention(dim, heads, dropout=dropout, attend=attend)

        def linformer() -> nn.Module:
            prefix = 1 if pool == "cls" else 0
            return Linformer(dim, heads, self.grid, prefix=prefix, rank=rank, dropout=dropout)

        papers: dict[str, Callable[[int], nn.Module]] = {
            "nystrom": lambda layer: attention(Nystrom(heads, rank)),
            "performer": lambda layer: attention(Performer(head_dim, rank, seed=layer)),
            "linformer": lambda layer: linformer(),
            "mamba": lambda layer: Mamba(dim, "v2"),
            "attention": lambda layer: attention(),
        }

        def make_block_mixer(layer: int) -> nn.Module:
            if isinstance(mixer, str) and mixer in papers:
                return papers[mixer](layer)
            return make_mixer(mixer, dim, tuple(papers))

        self.blocks = nn.ModuleList(
            Block(
                dim,
                make_block_mixer(i),
                Mlp(dim, mlp_dim, dropout),
                drop_path=rate,
                norm_eps=norm_eps,
            )
            for i, rate in enumerate(drop_path_rates(drop_path, depth))
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)

    def context(self, features: Features) -> tuple[object, ...]:
        """Features → (grid, indices of the patches that remain) for Linformer, whose weights depend
        on positions; () for the others."""
        return (features.grid, features.keep_indices) if self.mixer_kind == "linformer" else ()


def _variant(mixer: str, rank: int, parameters: int) -> Variant:
    keywords = {
        "image_size": 224, "patch_size": 16, "num_classes": 1000,
        "dim": 384, "depth": 12, "heads": 6, "mlp_dim": 1536, "mixer": mixer, "rank": rank,
    }  # fmt: skip
    return Variant(keywords, parameters)


# ViT-S/16 with 12 other mixers; Performer's number of features is its authors' d log d. No counts
# were published. These are ViT's 22,050,664, with 33 more per head and block for Nyström, with
# 2 · 197 · 64 - 3 · 384 more per block for Linformer (two tables, and q, k and v without a bias),
# and with Mamba's blocks.
VARIANTS = {
    "vit_nystrom_small_patch16_224": _variant("nystrom", 64, 22_053_040),
    "vit_performer_small_patch16_224": _variant("performer", 266, 22_050_664),
    "vit_linformer_small_patch16_224": _variant("linformer", 64, 22_339_432),
    "vit_mamba_small_patch16_224": _variant("mamba", 64, 27_469_672),
}
