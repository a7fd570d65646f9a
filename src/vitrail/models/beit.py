"""BEiT: "BEiT: BERT Pre-Training of Image Transformers" (Bao et al. 2021,
https://arxiv.org/abs/2106.08254).

    image (B, C, H, W)
      └ patch_embed ─ patches (B, N, D), no positions
          └ [class token, patches] ─ (B, 1 + N, D)
              └ depth × Block(RelativeAttention, Mlp)
                  └ mean over patches ─ norm ─ (B, D) ─ head ─ (B, classes)

BEiT differs from ViT in four points. Positions are a bias of the attention logits: a number per
head and offset between two patches, in every block, and three more for the class token. LayerScale
scales the residual branches. The mean of the patches is normalized, not the patches. Keys have no
bias: a bias of keys adds the same number to all logits of a query, which a softmax ignores.
BEiT v2 (Peng et al. 2022, https://arxiv.org/abs/2208.06366) is the same network, pretrained in
another way.

For another image size the table of offsets is resampled bilinearly, as transformers does. timm
follows the authors' script for fine-tuning, which places far offsets further apart.
"""

import functools
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.attention import Attend, divide
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.computed import register_computed
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.relative_position import relative_index
from vitrail.layers.tokens import Token
from vitrail.models.base import Backbone, Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.tiers import SequenceBackbone
from vitrail.ops.linear import product
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size

Offsets = tuple[Tensor, tuple[int, ...]]  # row of the table for each pair of tokens; the grid


def offset_index(grid: tuple[int, ...]) -> Tensor:
    """Rows of a `RelativeBiasWithClass` table, for each pair of [class token, patches].

    Args:
        grid: number of patches per axis.

    Returns:
        (1 + N, 1 + N) int64, query first.

    Example:
        >>> offset_index((1, 2))
        tensor([[5, 3, 3],
                [4, 1, 0],
                [4, 2, 1]])
    """
    rows = _count_offsets(grid)
    index = F.pad(relative_index(grid), (1, 0, 1, 0), value=rows + 2)  # class token to itself
    index[0, 1:] = rows  # class token to patches
    index[1:, 0] = rows + 1  # patches to class token
    return index


def _count_offsets(grid: tuple[int, ...]) -> int:
    return torch.Size(2 * side - 1 for side in grid).numel()


class RelativeBiasWithClass(nn.Module):
    """Relative position bias of a grid of patches and a class token.

    The parameter `table` has shape (offsets + 3, heads): a row per offset between two patches, then
    rows for class token to patches, patches to class token and class token to itself. It starts
    from zeros, as in the authors' code. Weight decay spares it.

    Args:
        grid: number of patches per axis.
        heads: number of attention heads.

    Example:
        >>> bias = RelativeBiasWithClass((2, 2), heads=3)
        >>> bias(offset_index((2, 2))[None], (2, 2)).shape
        torch.Size([1, 3, 5, 5])
    """

    undecayed = ("table",)

    def __init__(self, grid: tuple[int, ...], heads: int) -> None:
        super().__init__()
        self.grid = grid
        self.table = nn.Parameter(torch.empty(_count_offsets(grid) + 3, heads))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets the table to zeros."""
        nn.init.zeros_(self.table)

    def forward(self, index: Tensor, grid: tuple[int, ...]) -> Tensor:
        """index (B or 1, n, n), rows of the table for `grid` → bias (B or 1, H, n, n)."""
        return F.embedding(index, self._table_for(grid)).permute(0, 3, 1, 2)

    def resampled_to(self, other: "RelativeBiasWithClass") -> dict[str, Tensor]:
        """other, a table for another grid → its parameters by name, from those of this one."""
        return {"table": self._table_for(other.grid)}

    def _table_for(self, grid: tuple[int, ...]) -> Tensor:
        if grid == self.grid:
            return self.table
        old, new = ([2 * side - 1 for side in sides] for sides in (self.grid, grid))
        offsets, rest = self.table[:-3], self.table[-3:]
        image = F.interpolate(offsets.T.unflatten(1, old)[None], new, mode="bilinear")
        return torch.cat([image[0].flatten(1).T, rest])


class QKVLinear(Linear):
    """Linear projection to queries, keys and values, with a bias of queries and one of values.

    Args:
        dim: width of a token.

    Example:
        >>> QKVLinear(8)(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 24])
    """

    def __init__(self, dim: int) -> None:
        super().__init__(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) → (..., 3 D)."""
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        return product(x, self.weight, bias, self.backend)


class RelativeAttention(nn.Module):
    """Multi-head self-attention with a relative position bias.

    Args:
        dim: width of a token.
        heads: number of heads, a divisor of `dim`.
        dropout: dropout rate of the attention weights and of the output.
        bias: the bias of this block; None to take the one that all blocks share from the caller.

    Example:
        >>> bias = RelativeBiasWithClass((2, 2), heads=2)
        >>> index = offset_index((2, 2))[None]
        >>> attention = RelativeAttention(8, heads=2, dropout=0.0, bias=bias)
        >>> attention(torch.zeros(1, 5, 8), (index, (2, 2)), None).shape
        torch.Size([1, 5, 8])
    """

    def __init__(
        self, dim: int, heads: int, *, dropout: float, bias: RelativeBiasWithClass | None
    ) -> None:
        super().__init__()
        divide(dim, heads)
        self.heads = heads
        self.qkv = QKVLinear(dim)
        self.bias = bias
        self.attend = Attend(dropout)
        self.proj = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    @property
    def last_linear(self) -> nn.Linear:
        """The linear layer whose output, after dropout, is the module's."""
        return self.proj

    def reset_parameters(self) -> None:
        """Sets the biases of queries and values to zeros."""
        nn.init.zeros_(self.qkv.q_bias)
        nn.init.zeros_(self.qkv.v_bias)

    def forward(self, x: Tensor, offsets: Offsets, shared: Tensor | None) -> Tensor:
        """x (B, n, D), offsets of its tokens, shared bias (B or 1, H, n, n) → (B, n, D)."""
        bias = shared if self.bias is None else self.bias(*offsets)
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.dropout(self.proj(self.attend(q, k, v, bias).transpose(1, 2).flatten(2)))


class BEiT(SequenceBackbone):
    """Vision Transformer with relative positions (Bao et al. 2021).

    Args:
        image_size: pixels (height, width), or one number for both. Biases of offsets are learned
            for this size and resampled for any other that patches divide.
        patch_size: pixels (height, width) of a patch, or one number for both.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token.
        depth: number of blocks.
        heads: number of attention heads, a divisor of `dim`.
        mlp_dim: hidden width of the MLP.
        channels: number of channels of an image.
        pool: "mean" averages the patches and normalizes the mean; "cls" normalizes all tokens and
            reads the class token.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        shared_bias: whether all blocks share one table of relative positions, as in BEiT's
            pretraining; otherwise each block has its own.
        layer_scale: initial factor of LayerScale.
        norm_eps: epsilon of every LayerNorm. transformers' BEiT weights need 1e-12.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> model = BEiT(32, 8, num_classes=5, dim=16, depth=2, heads=2, mlp_dim=32)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
    """

    paper = Paper(
        "BEiT: BERT Pre-Training of Image Transformers",
        "Bao et al.",
        2021,
        "https://arxiv.org/abs/2106.08254",
        change="A learned relative position bias in every layer of a ViT.",
    )
    # The authors count the shared bias with the head in layer-wise learning rate decay.
    after_blocks = ("bias", "norm", "pool_norm", "head")

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
        pool: Literal["mean", "cls"] = "mean",
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        shared_bias: bool = False,
        layer_scale: float = 0.1,
        norm_eps: PositiveFloat = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        patch = to_tuple(patch_size)
        self.dim, self.pool_kind = dim, pool
        self.grid = patch_grid(self.image_size, patch)

        self.patch_embed = PatchEmbed(patch, channels, dim, init="torch")
        self.class_token = Token(1, dim)
        self.emb_dropout = nn.Dropout(emb_dropout)
        register_computed(self, "index", functools.partial(offset_index, self.grid))
        self.index: Tensor

        def attention() -> RelativeAttention:
            own = None if shared_bias else RelativeBiasWithClass(self.grid, heads)
            return RelativeAttention(dim, heads, dropout=dropout, bias=own)

        self.blocks = nn.ModuleList(
            Block(
                dim,
                attention(),
                Mlp(dim, mlp_dim, dropout),
                drop_path=rate,
                layer_scale=layer_scale,
                norm_eps=norm_eps,
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        self.bias = RelativeBiasWithClass(self.grid, heads) if shared_bias else None
        norm = nn.LayerNorm(dim, eps=norm_eps)
        self.norm = norm if pool == "cls" else nn.Identity()
        self.pool_norm = norm if pool == "mean" else nn.Identity()
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D), prefix (B, 1, D)."""
        patches, grid = self.patch_embed(images)
        prefix = self.class_token(patches.shape[0])
        return Features(self.emb_dropout(patches), self.emb_dropout(prefix), grid)

    def context(self, features: Features) -> tuple[Offsets, Tensor | None]:
        """Features → offsets of their tokens, and the bias (B or 1, H, n, n) if it is shared."""
        index, grid, keep_indices = self.index, features.grid, features.keep_indices
        if grid != self.grid:
            index = offset_index(grid).to(index.device)
        if keep_indices is None:
            index = index[None]
        else:
            tokens = F.pad(keep_indices + 1, (1, 0))  # (B, 1 + K), the class token first
            index = index[tokens[:, :, None], tokens[:, None, :]]
        return (index, grid), None if self.bias is None else self.bias(index, grid)

    def weights_at(self, other: Backbone) -> dict[str, Tensor] | None:
        """other → its state dict; a shared table is copied to blocks that have their own.

        As in the authors' fine-tuning, which goes on with a table per block.
        """
        if self.bias is None and getattr(other, "bias", None) is not None:
            raise ConfigError("shared_bias=True makes one table of several: leave it out.")
        weights = super().weights_at(other)
        own = [m for m in other.blocks.modules() if isinstance(m, RelativeBiasWithClass)]
        if self.bias is None or not own:
            return weights
        weights = dict(weights or self.state_dict())
        del weights["bias.table"]
        table = self.bias.resampled_to(own[0])["table"]
        names = [n for n, m in other.named_modules() if isinstance(m, RelativeBiasWithClass)]
        return weights | {f"{name}.table": table for name in names}

    def pool(self, features: Features) -> Tensor:
        """Features → (B, D)."""
        mean = self.pool_kind == "mean"
        return self.pool_norm(features.patches.mean(dim=1) if mean else features.prefix[:, 0])

    def init_weights(self) -> None:
        """Initializes every parameter as in the authors' code.

        As `initialize` does, but the last linear layer of each branch of block i = 1, 2, … is
        divided by √(2 i), and the head by 1000.
        """
        super().init_weights()
        mixers = [m for m in self.blocks.modules() if isinstance(m, RelativeAttention)]
        mlps = [m for m in self.blocks.modules() if isinstance(m, Mlp)]
        with torch.no_grad():
            for i, (mixer, mlp) in enumerate(zip(mixers, mlps, strict=True), start=1):
                mixer.proj.weight /= (2 * i) ** 0.5
                mlp.fc2.weight /= (2 * i) ** 0.5
        self._shrink_head()

    def reset_head(self, num_classes: int) -> None:
        """Replaces the head with a fresh one of `num_classes` logits, as small as the authors'."""
        super().reset_head(num_classes)
        self._shrink_head()

    @torch.no_grad()
    def _shrink_head(self) -> None:
        for parameter in self.head.parameters():
            parameter.mul_(0.001)


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
