"""CaiT: "Going deeper with Image Transformers" (Touvron et al. 2021,
https://arxiv.org/abs/2103.17239).

    image (B, C, H, W)
      └ patch_embed ─ (B, N, D) + position
          └ depth × Block(Attention with talking heads, Mlp)
              └ [class token, patches] ─ (B, 1 + N, D)
                  └ class_depth × ClassBlock(class attention, Mlp)
                      └ norm ─ class token ─ (B, D) ─ head ─ (B, classes)

Differs from ViT: every residual branch is scaled by a learned factor a channel, so that deep models
train; the heads of a layer exchange logits and weights; and the class token enters late. Until then
patches attend to each other undisturbed, then they stay as they are and the class token reads them.

A bias of the mixed logits would be one number for all keys, which no softmax shows: depth · heads
published parameters are absent. vit-pytorch sets LayerScale by the block's place instead of the
network's depth, hands the class token patches that were not normalised, mixes heads there too, and
drops layers at inference as well.
"""

from typing import Any

import torch
from torch import Tensor, nn

from vitrail.layers.attention import Attend, Attention, CrossAttention, divide
from vitrail.layers.block import Block
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import Size
from vitrail.models.base import Features, TokenSequence, Variant
from vitrail.models.paper import Paper
from vitrail.models.vit_base import PlainViT


class TalkingHeads(nn.Linear):
    """New maps of attention, each a mixture of those of all heads.

    Shazeer et al. 2020, https://arxiv.org/abs/2003.02436.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """maps (B, H, N, M) → (B, H, N, M)."""
        mixture, flat = self.weight.expand(maps.shape[0], -1, -1), maps.flatten(2)
        if self.bias is None:
            return torch.bmm(mixture, flat).view_as(maps)
        return torch.baddbmm(self.bias[:, None], mixture, flat).view_as(maps)


class ClassBlock(Block):
    """A block that changes the class token alone: it looks at itself and at all patches."""

    def forward(self, x: Tensor, *patches: Any) -> Tensor:
        """x (B, 1, D), the class token, and patches (B, N, D) → the class token (B, 1, D)."""
        tokens = self.norm1(torch.cat([x, *patches], dim=1))
        x = x + self.drop_path(self.scale1(self.mixer(tokens[:, :1], tokens)))
        return x + self.drop_path(self.scale2(self.mlp(self.norm2(x))))


class CaiT(PlainViT):
    """A Vision Transformer with LayerScale, talking heads and class attention.

    Args:
        depth, class_depth: blocks of the patches, and of the class token after them.
        layer_scale: initial factor of residual branches; in the paper 0.1 up to 18 blocks, 1e-5 up
            to 24, 1e-6 beyond.
        drop_path: of every block of patches alike. The rest as in `ViT`.
    """

    paper = Paper(
        "Going deeper with Image Transformers",
        "Touvron et al.",
        2021,
        "https://arxiv.org/abs/2103.17239",
    )

    late = ("class_token", "class_blocks", "norm", "head")

    def __init__(
        self,
        image_size: Size,
        patch_size: Size,
        num_classes: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
        class_depth: int = 2,
        channels: int = 3,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        layer_scale: float = 1e-5,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(image_size, patch_size, num_classes, dim, channels, "cls", emb_dropout)
        divide(dim, heads)  # before heads are mixed

        def talking() -> Attention:
            before, after = TalkingHeads(heads, heads, bias=False), TalkingHeads(heads, heads)
            attend = Attend(dropout, before=before, after=after)
            return Attention(dim, heads, dropout=dropout, attend=attend)

        scaled: dict[str, Any] = {"layer_scale": layer_scale, "norm_eps": norm_eps}
        self.blocks = nn.ModuleList(
            Block(dim, talking(), Mlp(dim, mlp_dim, dropout), drop_path=drop_path, **scaled)
            for _ in range(depth)
        )
        self.class_blocks = nn.ModuleList(
            ClassBlock(
                dim,
                CrossAttention(dim, heads, dropout=dropout),
                Mlp(dim, mlp_dim, dropout),
                **scaled,
            )
            for _ in range(class_depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)

    def to_sequence(self, features: Features) -> TokenSequence:
        """Features → the patches alone, which is all that `blocks` see, and the way back."""
        return TokenSequence(
            features.patches, (), lambda patches: features._replace(patches=patches)
        )

    def encode(self, features: Features) -> Features:
        """Features → Features of the same shapes, normalised; the class token has read patches."""
        patches, token = self.run_blocks(features.patches), features.prefix
        for block in self.class_blocks:
            token = block(token, patches)
        return features._replace(patches=self.norm(patches), prefix=self.norm(token))


def _variant(
    parameters: int, size: int, dim: int, depth: int, layer_scale: float = 1e-5
) -> Variant:
    heads = dim // 48
    keywords = {
        "image_size": size, "patch_size": 16, "num_classes": 1000,
        "dim": dim, "depth": depth, "heads": heads, "mlp_dim": 4 * dim, "layer_scale": layer_scale,
    }  # fmt: skip
    return Variant(keywords, parameters, absent=depth * heads)


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
