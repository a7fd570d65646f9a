"""CCT: "Escaping the Big Data Paradigm with Compact Transformers" (Hassani et al. 2021,
https://arxiv.org/abs/2104.05704).

    image (B, C, H, W)
      └ tokenizer: convolutions, each with ReLU and max pooling ─ (B, N, D) + position
          └ depth × CCTBlock(Attention, Mlp)
              └ norm ─ sequence pooling, a mean with learned weights ─ (B, D) ─ head ─ (B, classes)

Differs from ViT: convolutions make the tokens, so neighbours know of each other before the first
block; the summary is a weighted mean of all patches instead of a class token; queries, keys and
values have no bias. In the authors' blocks, which their weights need, the second norm normalises
the stream itself, not what is given to the MLP. The pooling's logits have no bias here, one
parameter less: a softmax does not see what is added to all of them.
"""

import itertools
from typing import Any

import torch
from torch import Tensor, nn

from vitrail.errors import check_choice
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import check_images
from vitrail.layers.position import resize_positions, sequence_positions
from vitrail.models.base import Features, SequenceBackbone, Variant
from vitrail.models.paper import Paper


class CCTBlock(Block):
    """x + attention(norm(x)), then norm(x) + mlp(norm(x))."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """x (B, N, D) → (B, N, D)."""
        x = self.norm2(x + self.drop_path(self.mixer(self.norm1(x))))
        return x + self.drop_path(self.mlp(x))


class CCT(SequenceBackbone):
    """A compact convolutional transformer.

    Args:
        patch_size, stride: of each convolution of the tokenizer, an odd number of pixels; after
            each, the largest of 3 × 3 is taken with stride 2.
        convolutions: how many the tokenizer has; all but the last are 64 wide.
        position: "learned" table, resampled for other sizes; "sincos" of the place in the
            sequence; "none", which convolutions make up for.
        The rest as in `ViT`. Images of any size.
    """

    paper = Paper(
        "Escaping the Big Data Paradigm with Compact Transformers",
        "Hassani et al.",
        2021,
        "https://arxiv.org/abs/2104.05704",
    )

    late = ("norm", "sequence_pool", "head")

    def __init__(
        self,
        image_size: int | tuple[int, int],
        num_classes: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
        patch_size: int = 3,
        stride: int = 1,
        convolutions: int = 1,
        channels: int = 3,
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        position: str = "learned",
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_choice("position", position, ("learned", "sincos", "none"))
        self.dim, self.position_kind = dim, position
        widths = (channels, *[64] * (convolutions - 1), dim)
        self.tokenizer = nn.Sequential()
        for before, width in itertools.pairwise(widths):
            self.tokenizer.append(
                nn.Conv2d(before, width, patch_size, stride, patch_size // 2, bias=False)
            )
            self.tokenizer.extend([nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)])
        self.grid = self.image_size
        for step in (stride, 2) * convolutions:
            self.grid = tuple(-(-side // step) for side in self.grid)
        if position == "learned":
            self.position = nn.Parameter(torch.empty(1, self.grid[0] * self.grid[1], dim))
        self.emb_dropout = nn.Dropout(emb_dropout)
        self.blocks = nn.ModuleList(
            CCTBlock(
                dim,
                Attention(dim, heads, dropout=dropout, bias=False),
                Mlp(dim, mlp_dim, dropout),
                drop_path=rate,
                norm_eps=norm_eps,
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.sequence_pool = nn.Linear(dim, 1, bias=False)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions, no prefix."""
        check_images(images, self.channels)
        x = self.tokenizer(images.contiguous(memory_format=torch.channels_last))
        features = Features.from_map(x.permute(0, 2, 3, 1))
        patches, table = features.patches, self.positions_at(features.grid)
        if self.position_kind == "sincos":
            table = sequence_positions(patches.shape[1], self.dim).to(patches)
        patches = self.emb_dropout(patches if table is None else patches + table)
        return features._replace(patches=patches)

    def positions_at(self, grid: tuple[int, ...]) -> Tensor | None:
        """(1, N, D) for a grid of N patches; None where positions are not learned."""
        if self.position_kind != "learned":
            return None
        return resize_positions(self.position, self.grid, grid)

    def pool(self, features: Features) -> Tensor:
        """Features → the mean of the patches (B, D), weighted by what they say of themselves."""
        weights = self.sequence_pool(features.patches).softmax(dim=1)
        return (weights.transpose(1, 2) @ features.patches).squeeze(1)

    def init_weights(self) -> None:
        """As every model; positions normal with std 0.2, as the authors'."""
        super().init_weights()
        if self.position_kind == "learned":
            nn.init.trunc_normal_(self.position, std=0.2)


def _variant(
    parameters: int, dim: int, depth: int, heads: int, mlp_ratio: int, **more: Any
) -> Variant:
    keywords = {
        "image_size": 32, "num_classes": 10,
        "dim": dim, "depth": depth, "heads": heads, "mlp_dim": mlp_ratio * dim,
    }  # fmt: skip
    return Variant({**keywords, **more}, parameters, absent=1)


# Patches of 7 × 7 with stride 2, twice.
LARGE = {"image_size": 224, "patch_size": 7, "stride": 2, "convolutions": 2, "num_classes": 1000}

# Their names: depth, patch size × convolutions, image size.
VARIANTS = {
    "cct_2_3x2_32": _variant(283_723, 128, 2, 2, 1, convolutions=2),
    "cct_4_3x2_32": _variant(482_123, 128, 4, 2, 1, convolutions=2),
    "cct_6_3x1_32": _variant(3_233_803, 256, 6, 4, 2),
    "cct_7_3x1_32": _variant(3_760_139, 256, 7, 4, 2),
    "cct_7_7x2_224": _variant(4_804_521, 256, 7, 4, 2, **LARGE),
    "cct_14_7x2_224": _variant(22_367_273, 384, 14, 6, 3, **LARGE),
    "cct_14_7x2_384": _variant(22_513_193, 384, 14, 6, 3, **{**LARGE, "image_size": 384}),
}
