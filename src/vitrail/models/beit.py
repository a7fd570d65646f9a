"""BEiT: "BEiT: BERT Pre-Training of Image Transformers" (Bao et al. 2021,
https://arxiv.org/abs/2106.08254).

    image (B, C, H, W)
      └ patch_embed ─ patches (B, N, D), no positions
          └ [class token, patches] ─ (B, 1 + N, D)
              └ depth × Block(RelativeAttention, Mlp)
                  └ mean over patches ─ norm ─ (B, D) ─ head ─ (B, classes)

Differs from ViT: positions are a bias of the logits for every offset between two patches, in every
block, and three more for the class token; residual branches are scaled by a factor a channel; the
mean of the patches is normalised, not the patches. Keys have no bias: it would add the same to all
logits of a query, which no softmax shows. BEiT v2 (Peng et al. 2022, arXiv 2208.06366) is the same
network, pretrained in another way.

For another image size the table of offsets is resampled bilinearly, as transformers does; timm
follows the authors' script for fine-tuning, which spaces far offsets wider.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import check_choice
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, Size, patch_grid, to_tuple
from vitrail.layers.relative_position import relative_index
from vitrail.models.base import Backbone, Features, SequenceBackbone, Variant
from vitrail.models.paper import Paper
from vitrail.ops.linear import linear

Offsets = tuple[Tensor, tuple[int, ...]]  # which row of a table each pair of tokens uses; the grid


def offset_index(grid: tuple[int, ...]) -> Tensor:
    """Which row of a table each pair of [class token, patches] uses: (1 + N, 1 + N)."""
    rows = offset_count(grid)
    index = F.pad(relative_index(grid), (1, 0, 1, 0), value=rows + 2)  # class token to itself
    index[0, 1:] = rows  # to patches
    index[1:, 0] = rows + 1  # patches to it
    return index


def offset_count(grid: tuple[int, ...]) -> int:
    """How many offsets there are between two patches."""
    return torch.Size(2 * side - 1 for side in grid).numel()


class OffsetBias(nn.Module):
    """A bias for each head and each offset between two patches of a grid, or the class token."""

    def __init__(self, grid: tuple[int, ...], heads: int) -> None:
        super().__init__()
        self.grid = grid
        self.bias_table = nn.Parameter(torch.empty(offset_count(grid) + 3, heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal with std 0.02."""
        nn.init.trunc_normal_(self.bias_table, std=0.02)

    def table_at(self, grid: tuple[int, ...]) -> Tensor:
        """The table for the offsets of another grid."""
        if grid == self.grid:
            return self.bias_table
        old, new = ([2 * side - 1 for side in sides] for sides in (self.grid, grid))
        offsets, rest = self.bias_table[:-3], self.bias_table[-3:]
        image = F.interpolate(offsets.T.unflatten(1, old)[None], new, mode="bilinear")
        return torch.cat([image[0].flatten(1).T, rest])

    def forward(self, index: Tensor, grid: tuple[int, ...]) -> Tensor:
        """index (B or 1, n, n), rows of the table for `grid` → bias (B or 1, H, n, n)."""
        return F.embedding(index, self.table_at(grid)).permute(0, 3, 1, 2)


class QKV(Linear):
    """The projection to queries, keys and values, with a bias of queries and one of values."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) → (..., 3 D)."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        return linear(x, self.weight, bias, self.backend)


class RelativeAttention(nn.Module):
    """Self-attention with a bias for offsets; grid None: with that of all blocks."""

    def __init__(
        self, dim: int, heads: int, grid: tuple[int, ...] | None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, dropout=dropout)
        self.attention.qkv = QKV(dim)
        self.bias = None if grid is None else OffsetBias(grid, heads)

    def forward(self, x: Tensor, offsets: Offsets, shared: Tensor | None) -> Tensor:
        """x (B, 1 + N, D) → (B, 1 + N, D)."""
        return self.attention(x, bias=shared if self.bias is None else self.bias(*offsets))


class BEiT(SequenceBackbone):
    """A Vision Transformer with relative positions.

    Args:
        pool: "mean" normalises the mean of the patches, which are left as they are; "cls" reads the
            class token, normalised.
        position: "relative", or "relative+shared" for one table that serves all blocks, which is
            how BEiT is pretrained. The rest as in `ViT`.
    """

    paper = Paper(
        "BEiT: BERT Pre-Training of Image Transformers",
        "Bao et al.",
        2021,
        "https://arxiv.org/abs/2106.08254",
    )

    late = ("norm", "pool_norm", "head")

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
        pool: str = "mean",
        dropout: float = 0.0,
        emb_dropout: float = 0.0,
        drop_path: float = 0.0,
        position: str = "relative",
        layer_scale: float = 0.1,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        check_choice("pool", pool, ("mean", "cls"))
        check_choice("position", position, ("relative", "relative+shared"))
        patch, shared = to_tuple(patch_size), position == "relative+shared"
        self.dim, self.pool_kind = dim, pool
        self.grid = patch_grid(self.image_size, patch)

        self.patch_embed = PatchEmbed(patch, channels, dim)
        self.class_token = nn.Parameter(torch.empty(1, 1, dim))
        self.emb_dropout = nn.Dropout(emb_dropout)
        self.register_buffer("index", offset_index(self.grid), persistent=False)
        self.index: Tensor
        self.blocks = nn.ModuleList(
            Block(
                dim,
                RelativeAttention(dim, heads, None if shared else self.grid, dropout),
                Mlp(dim, mlp_dim, dropout),
                drop_path=rate,
                layer_scale=layer_scale,
                norm_eps=norm_eps,
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        self.bias = OffsetBias(self.grid, heads) if shared else None
        norm = nn.LayerNorm(dim, eps=norm_eps)
        self.norm = norm if pool == "cls" else nn.Identity()
        self.pool_norm = norm if pool == "mean" else nn.Identity()
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D), prefix (B, 1, D)."""
        patches, grid = self.patch_embed(images)
        prefix = self.class_token.expand(patches.shape[0], -1, -1)
        return Features(self.emb_dropout(patches), self.emb_dropout(prefix), grid)

    def context(self, features: Features) -> tuple[Offsets, Tensor | None]:
        """The offsets between all tokens, or those that were kept, and a bias for all blocks."""
        index, grid, kept = self.index, features.grid, features.keep_indices
        if grid != self.grid:
            index = offset_index(grid).to(index.device)
        if kept is None:
            index = index[None]
        else:
            places = F.pad(kept + 1, (1, 0))  # (B, 1 + K), the class token's first
            index = index[places[:, :, None], places[:, None, :]]
        return (index, grid), None if self.bias is None else self.bias(index, grid)

    def pool(self, features: Features) -> Tensor:
        """Features → (B, D)."""
        if self.pool_kind == "cls":
            return features.prefix[:, 0]
        return self.pool_norm(features.patches.mean(dim=1))

    def weights_for(self, other: Backbone) -> dict[str, Tensor]:
        """The weights of this model as `other`, the same at another image_size, has them."""
        tables = {
            f"{name}.bias_table": module.table_at(other.grid)
            for name, module in self.named_modules()
            if isinstance(module, OffsetBias)
        }
        return {**self.state_dict(), **tables}

    def init_weights(self) -> None:
        """As every model; what a block adds is divided by √(2 · its number), as in the paper."""
        super().init_weights()
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith(("q_bias", "v_bias")):
                    parameter.zero_()
                elif name.endswith(("attention.proj.weight", "mlp.fc2.weight")):
                    parameter.div_((2 * self.layer_of(name)) ** 0.5)


def _variant(parameters: int, size: int, layer_scale: float, large: bool = False) -> Variant:
    dim, depth, heads = (1024, 24, 16) if large else (768, 12, 12)
    keywords: dict[str, Any] = {
        "image_size": size, "patch_size": 16, "num_classes": 1000,
        "dim": dim, "depth": depth, "heads": heads, "mlp_dim": 4 * dim, "layer_scale": layer_scale,
    }  # fmt: skip
    return Variant(keywords, parameters)


VARIANTS = {
    "beit_base_patch16_224": _variant(86_530_984, 224, 0.1),
    "beit_base_patch16_384": _variant(86_744_104, 384, 0.1),
    "beit_large_patch16_224": _variant(304_430_568, 224, 1e-5, large=True),
    "beit_large_patch16_384": _variant(304_998_888, 384, 1e-5, large=True),
    "beit_large_patch16_512": _variant(305_674_728, 512, 1e-5, large=True),
    "beitv2_base_patch16_224": _variant(86_530_984, 224, 1e-5),
    "beitv2_large_patch16_224": _variant(304_430_568, 224, 1e-5, large=True),
}
