"""ATS: "Adaptive Token Sampling for Efficient Vision Transformers" (Fayyaz et al. 2021,
https://arxiv.org/abs/2111.15667).

    image (B, C, H, W)
      └ patch_embed ─ [class token, patches] + position ─ (B, 1 + N, D)
          └ depth × SamplingBlock: scores of N patches ─ K samples ─ (B, 1 + K', D), K' <= K
              └ norm ─ class token ─ (B, D) ─ head ─ (B, classes)

ATS differs from ViT in the blocks that sample: only patches that matter to the class token stay.
The score of a patch is the class token's attention to it times the length of its value, summed over
the heads. The scores are summed up to a distribution function, and K points, equally far apart,
select the patches whose function values are nearest. An important patch is selected many times and
kept once, so an image keeps K' patches, the fewer the simpler it is. Nothing is learned: the
parameters are ViT's, and DeiT's weights fit.

Images of a batch keep different numbers of patches. Those that keep fewer repeat their last patch,
and no token attends to a repetition, so that the class token is that of the image by itself. In a
compiled or exported program the shape must not depend on values: there, K patches remain.

As in the authors' code, patches are sorted by their scores first, and a block samples K times
however many patches there are. The points are the paper's, 1 / 2K, 3 / 2K, ... vit-pytorch draws
them at random, in evaluation too, and samples only where there are more than K patches.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.dtypes import at_least_float32
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed, patch_grid, to_tuple
from vitrail.layers.position import PositionTable
from vitrail.layers.tokens import Token
from vitrail.models.base import Backbone, Variant
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.values import NonNegativeInt, PositiveFloat, PositiveInt, Rate, Size


def sample_tokens(scores: Tensor, count: int, repeated: Tensor | None = None) -> Tensor:
    """Inverse transform sampling at fixed points: which tokens stay.

    Args:
        scores: (B, N), at least 0.
        count: number of samples K.
        repeated: bool (B, N), True for tokens that must not be sampled; None for none.

    Returns:
        Indices (B, K) in ascending order; the largest one is repeated at the end, once for each
        sample of a token that was sampled before.

    Example:
        >>> sample_tokens(torch.tensor([[0.9, 0.06, 0.04]]), count=4)
        tensor([[0, 1, 1, 1]])
    """
    order = scores.argsort(dim=1)
    cdf = at_least_float32(scores.gather(1, order)).cumsum(dim=1)
    cdf = cdf / cdf[:, -1:]
    if repeated is not None:
        cdf = cdf.masked_fill(repeated.gather(1, order), torch.inf)
    points = (torch.arange(count, device=cdf.device, dtype=cdf.dtype) + 0.5) / count
    nearest = (cdf[:, None] - points[:, None]).abs().argmin(dim=-1)
    index = order.gather(1, nearest).sort(dim=1).values
    return torch.where(find_repeated(index), index[:, -1:], index).sort(dim=1).values


def find_repeated(index: Tensor) -> Tensor:
    """Which slots repeat a token.

    Args:
        index: (B, K), in ascending order.

    Returns:
        Bool (B, K), True where an entry equals the one before.

    Example:
        >>> find_repeated(torch.tensor([[0, 2, 2]]))
        tensor([[False, False,  True]])
    """
    return F.pad(index[:, 1:] == index[:, :-1], (1, 0))


class SamplingAttention(Attention):
    """Attention of the class token and of the patches that it samples.

    Args:
        dim: width of a token.
        heads: number of heads, a divisor of `dim`.
        samples: number of samples K; 0 for attention of all tokens.
        dropout: dropout rate of the attention weights and of the output.

    Example:
        >>> mixed, index = SamplingAttention(8, heads=2, samples=4)(torch.randn(1, 10, 8))
        >>> mixed.shape[1] == 1 + index.shape[1] <= 5
        True
    """

    def __init__(self, dim: int, heads: int, samples: int, dropout: float = 0.0) -> None:
        super().__init__(dim, heads, dropout=dropout)
        self.samples = samples

    def forward(  # type: ignore[override]
        self, x: Tensor, repeated: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """x (B, 1 + N, D), bool (B, N) → (B, 1 + K', D), indices (B, K') of the patches that stay.

        No token attends to repeated patches.
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.q_norm(q), self.k_norm(k)
        bias = index = None
        if repeated is not None:
            bias = q.new_zeros(x.shape[:2]).masked_fill(F.pad(repeated, (1, 0)), -torch.inf)
            bias = bias[:, None, None]
        if self.samples:
            index = sample_tokens(self._scores(q, k, v, bias), self.samples, repeated)
            if not (torch.compiler.is_compiling() or index.is_meta):
                longest = (index < index[:, -1:]).sum(dim=1).max() if len(index) else 0
                index = index[:, : int(longest) + 1]
            rows = F.pad(index + 1, (1, 0))[:, None, :, None]
            q = q.gather(2, rows.expand(-1, q.shape[1], -1, q.shape[3]))
        x = self.attend(q, k, v, bias).transpose(1, 2).flatten(2)
        return self.dropout(self.proj(x)), index

    @torch.no_grad()
    def _scores(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
        """Significance (B, N) of the patches for the class token."""
        logits = at_least_float32((q[:, :, :1] * q.shape[-1] ** -0.5) @ k.transpose(-2, -1))
        weights = (logits if bias is None else logits + bias).softmax(dim=-1)[:, :, 0]
        return (weights * v.norm(dim=-1)).sum(dim=1)[:, 1:]


class SamplingBlock(Block):
    """The transformer block of the tokens that its attention samples.

    Example:
        >>> block = SamplingBlock(8, SamplingAttention(8, heads=2, samples=4), Mlp(8, 16))
        >>> features = Features(torch.randn(1, 9, 8), torch.randn(1, 1, 8), (3, 3))
        >>> block(features).keep_indices.shape[1] <= 4
        True
    """

    def forward(self, features: Features) -> Features:  # type: ignore[override]
        """Features of N patches → Features of those that stay."""
        keep = features.keep_indices
        x = torch.cat([features.prefix, features.patches], dim=1)
        mixed, index = self.mixer(self.norm1(x), None if keep is None else find_repeated(keep))
        if index is not None:
            features = features.take(index)
            x = torch.cat([features.prefix, features.patches], dim=1)
        x = x + self.drop_path(self.scale1(mixed))
        x = x + self.drop_path(self.scale2(self.mlp(self.norm2(x))))
        return features._replace(prefix=x[:, :1], patches=x[:, 1:])


class ATSViT(Backbone):
    """Vision Transformer that keeps only the patches that matter (Fayyaz et al. 2021).

    After a block that samples, `keep_indices` of Features says which patches are left; images that
    keep fewer than others of their batch repeat the last.

    Args:
        image_size: pixels (height, width), or one number for both. Positions are learned for this
            size and resampled for any other that patches divide.
        patch_size: pixels (height, width) of a patch, or one number for both.
        num_classes: width of the logits; 0 for no head.
        dim: width of a token.
        depth: number of blocks.
        heads: number of attention heads, a divisor of `dim`.
        mlp_dim: hidden width of the MLP.
        samples: number of samples of each block, the most patches that remain after it, 0 where it
            does not sample; one number for all blocks.
        channels: number of channels of an image.
        dropout: dropout rate of attention weights, projections and MLPs.
        emb_dropout: dropout rate of the embedded tokens.
        drop_path: stochastic depth rate of the last block; it grows linearly from 0 at the first.
        norm_eps: epsilon of every LayerNorm.

    Raises:
        ConfigError: a keyword is unknown, has a wrong value or contradicts another.
        DataError: `image_size` does not divide into patches.

    Example:
        >>> model = ATSViT(32, 4, num_classes=5, dim=16, depth=2, heads=2, mlp_dim=32, samples=20)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 5])
        >>> model.features(torch.randn(1, 3, 32, 32)).keep_indices.shape[1] <= 20
        True
    """

    paper = Paper(
        "Adaptive Token Sampling for Efficient Vision Transformers",
        "Fayyaz et al.",
        2021,
        "https://arxiv.org/abs/2111.15667",
        change="Keeps the patches that the class token attends to, more or fewer.",
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
        samples: PositiveInt | tuple[NonNegativeInt, ...],
        channels: PositiveInt = 3,
        dropout: Rate = 0.0,
        emb_dropout: Rate = 0.0,
        drop_path: Rate = 0.0,
        norm_eps: PositiveFloat = 1e-6,
    ) -> None:
        super().__init__(image_size, channels, num_classes)
        counts = (samples,) * depth if isinstance(samples, int) else samples
        if len(counts) != depth:
            raise ConfigError(
                f"samples={samples} has {len(counts)} entries for depth={depth}: give one per "
                "block, or one number for all."
            )
        patch = to_tuple(patch_size)
        self.dim, self.grid = dim, patch_grid(self.image_size, patch)
        self.patch_embed = PatchEmbed(patch, channels, dim, init="torch")
        self.class_token = Token(1, dim)
        self.position = PositionTable(self.grid, dim, prefix=1)
        self.emb_dropout = nn.Dropout(emb_dropout)
        self.blocks = nn.ModuleList(
            SamplingBlock(
                dim,
                SamplingAttention(dim, heads, count, dropout),
                Mlp(dim, mlp_dim, dropout),
                drop_path=rate,
                norm_eps=norm_eps,
            )
            for count, rate in zip(counts, drop_path_rates(drop_path, depth), strict=True)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = self.make_head(num_classes)

    def embed(self, images: Tensor) -> Features:
        """images (B, C, H, W) → patches (B, N, D) with positions, prefix (B, 1, D)."""
        patches, grid = self.patch_embed(images)
        tokens = torch.cat([self.class_token(patches.shape[0]), patches], dim=1)
        tokens = self.emb_dropout(tokens + self.position(grid))
        return Features(tokens[:, 1:], tokens[:, :1], grid)

    def encode(self, features: Features) -> Features:
        """Features of N patches → normalized Features of those that stay."""
        self.require_whole_grid(features)
        features = self.run_blocks(features)
        x = self.norm(torch.cat([features.prefix, features.patches], dim=1))
        return features._replace(prefix=x[:, :1], patches=x[:, 1:])

    def pool(self, features: Features) -> Tensor:
        """Features → the class token (B, D)."""
        return features.prefix[:, 0]

    def cut(self, depth: int) -> None:
        """Drops the blocks after `depth`, with their numbers of samples."""
        super().cut(depth)
        if isinstance(self.config["samples"], tuple):
            self.config["samples"] = self.config["samples"][:depth]


def _variant(parameters: int, dim: int, heads: int) -> Variant:
    keywords = {
        "image_size": 224, "patch_size": 16, "num_classes": 1000, "dim": dim, "depth": 12,
        "heads": heads, "mlp_dim": 4 * dim, "samples": (0, 0, 0) + (196,) * 9,
    }  # fmt: skip
    return Variant(keywords, parameters)


# DeiT's, with sampling from the fourth block on, as configs/ImageNet/DeiT_S.yaml of the authors.
VARIANTS = {
    "ats_deit_tiny_patch16_224": _variant(5_717_416, 192, 3),
    "ats_deit_small_patch16_224": _variant(22_050_664, 384, 6),
}
