"""CLIP ViT: "Learning Transferable Visual Models From Natural Language Supervision" (Radford et al.
2021, https://arxiv.org/abs/2103.00020).

    image (B, C, H, W)
      └ patch_embed, no bias ─ (B, N, D) + position
          └ [class token, patches] ─ pre_norm ─ (B, 1 + N, D)
              └ depth × Block(Attention, Mlp with quick GELU)
                  └ norm ─ class token ─ (B, D) ─ head ─ (B, classes)

CLIP's image tower; `methods/clip.py` trains it, or any other, beside a text tower. Differs from
ViT: the embedded tokens are normalised, patches are projected without a bias, and the activation is
an approximation of GELU. `norm` is applied to all tokens, where the original leaves the patches,
which its loss never sees, as they are. The class token has no position of its own (see `vit.py`): D
of the published parameters is absent. `VARIANTS` are image towers without a projection.
"""

from torch import Tensor, nn

from vitrail.errors import check_choice
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.mlp import ACTIVATIONS, Mlp
from vitrail.layers.patch import PatchEmbed, Size, to_tuple
from vitrail.models.base import Features, Variant
from vitrail.models.paper import Paper
from vitrail.models.vit_base import PlainViT


class CLIPViT(PlainViT):
    """A Vision Transformer whose embedded tokens are normalised before the first block.

    Args:
        activation: "quick_gelu", OpenAI's; "gelu", that of most who trained CLIP after them; or
            "gelu_tanh". The rest as in `ViT`.
    """

    paper = Paper(
        "Learning Transferable Visual Models From Natural Language Supervision",
        "Radford et al.",
        2021,
        "https://arxiv.org/abs/2103.00020",
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
        activation: str = "quick_gelu",
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__(image_size, patch_size, num_classes, dim, channels, pool, emb_dropout)
        check_choice("activation", activation, tuple(ACTIVATIONS))
        self.patch_embed = PatchEmbed(to_tuple(patch_size), channels, dim, bias=False)
        self.pre_norm = nn.LayerNorm(dim, eps=norm_eps)
        self.blocks = nn.ModuleList(
            Block(
                dim,
                Attention(dim, heads, dropout=dropout),
                Mlp(dim, mlp_dim, dropout, activation=ACTIVATIONS[activation]()),
                drop_path=rate,
                norm_eps=norm_eps,
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions, prefix (B, 1 or 0, D)."""
        features = super().embed(images)
        patches, prefix = self.pre_norm(features.patches), self.pre_norm(features.prefix)
        return features._replace(patches=patches, prefix=prefix)


def _variant(parameters: int, patch: int, dim: int, size: int = 224) -> Variant:
    large = dim == 1024
    keywords = {
        "image_size": size, "patch_size": patch, "num_classes": 0,
        "dim": dim, "depth": 24 if large else 12, "heads": dim // 64, "mlp_dim": 4 * dim,
    }  # fmt: skip
    return Variant(keywords, parameters, absent=dim)


VARIANTS = {
    "vit_base_patch32_clip_quickgelu_224": _variant(87_456_000, 32, 768),
    "vit_base_patch16_clip_quickgelu_224": _variant(85_799_424, 16, 768),
    "vit_large_patch14_clip_quickgelu_224": _variant(303_179_776, 14, 1024),
    "vit_large_patch14_clip_quickgelu_336": _variant(303_507_456, 14, 1024, 336),
}
