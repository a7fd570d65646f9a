"""Masked autoencoders (He et al. 2021, https://arxiv.org/abs/2111.06377), and of videos by tubes
(VideoMAE, Tong et al. 2022, https://arxiv.org/abs/2203.12602).

    image ─ mask 75 % ─ embed ─ drop masked patches ─ encode ─ (B, P + K, D)
      └ linear ─ insert mask tokens ─ + position ─ depth × Block ─ norm ─ linear ─ masked pixels

The encoder never sees a masked patch, and the loss never reads a visible one. Attention does not
depend on the order of tokens once they carry positions, so the decoder has the masked ones last and
predicts only them: the numbers are the authors', without shuffling tokens back.

Common mistakes: a loss over all patches, which rewards copying; mask tokens in the encoder; a
decoder without positions, where all mask tokens are the same.
"""

import math
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.attention import Attention
from vitrail.layers.block import Block
from vitrail.layers.dtypes import at_least_float32
from vitrail.layers.linear import Linear
from vitrail.layers.mlp import Mlp
from vitrail.layers.position import Grid, sincos_positions
from vitrail.layers.tokens import Token
from vitrail.methods.base import Batch, Loss
from vitrail.methods.batch_checks import check_batch
from vitrail.methods.initial_values import draw_from_xavier
from vitrail.methods.masked import Masked
from vitrail.methods.masking import (
    masked_pixels,
    random_mask,
    reconstruction_rows,
    split_mask,
    tube_mask,
)
from vitrail.models.base import Backbone
from vitrail.models.features import Features
from vitrail.models.paper import Paper
from vitrail.models.parameters import initialize
from vitrail.models.tiers import SequenceBackbone
from vitrail.values import Fraction, PositiveFloat, PositiveInt


class PatchPrediction(NamedTuple):
    """What MAE makes of images whose patches are masked, in the order of the authors' code.

    Args:
        loss: (), with a gradient.
        predictions: (B, N, pixels), zeros at visible patches; normalized per patch if the method's
            `norm_pixels` is True.
        mask: bool (B, N), True where masked.

    Example:
        >>> loss, predictions, mask = PatchPrediction(torch.zeros(()), torch.zeros(1, 4, 12),
        ...                                      torch.ones(1, 4, dtype=torch.bool))
    """

    loss: Tensor
    predictions: Tensor
    mask: Tensor


class MAE(Masked):
    """Encodes the visible patches; a small decoder predicts the pixels of the masked ones.

    Args:
        backbone: a sequence.
        mask_ratio: fraction of the patches that is masked; 0.9 with "tube" for videos.
        decoder_dim: width of the decoder's tokens.
        decoder_depth: number of the decoder's blocks.
        decoder_heads: number of attention heads per block of the decoder.
        decoder_mlp_ratio: hidden width of the decoder's MLPs, relative to `decoder_dim`.
        norm_pixels: whether target pixels are normalized by the mean and standard deviation of
            their patch.
        mask: "random" patches, or "tube", the same patches in every frame of a video.
        norm_eps: epsilon of the decoder's LayerNorms. transformers' weights need 1e-12.

    Raises:
        TierError: the backbone is no sequence.
        ConfigError: a keyword has a wrong value, or the mask does not fit the grid.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=2, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> mae = MAE(model, decoder_dim=16, decoder_depth=1, decoder_heads=2)
        >>> mae.reconstruct(torch.zeros(2, 3, 8, 8)).shape
        torch.Size([3, 2, 3, 8, 8])
    """

    paper = Paper(
        "Masked Autoencoders Are Scalable Vision Learners",
        "He et al.",
        2021,
        "https://arxiv.org/abs/2111.06377",
        change="Encodes the visible quarter of the patches; a decoder rebuilds the rest.",
    )
    tier: ClassVar[tuple[type[Backbone], ...]] = (SequenceBackbone,)

    def __init__(
        self,
        backbone: Backbone,
        mask_ratio: Fraction = 0.75,
        decoder_dim: PositiveInt = 512,
        decoder_depth: PositiveInt = 8,
        decoder_heads: PositiveInt = 16,
        decoder_mlp_ratio: PositiveFloat = 4.0,
        norm_pixels: bool = True,
        mask: Literal["random", "tube"] = "random",
        norm_eps: PositiveFloat = 1e-6,
    ) -> None:
        super().__init__(backbone, reads="tokens")
        pixels = backbone.channels * math.prod(self.layout.cell)
        if norm_pixels and pixels == 1:
            raise ConfigError(
                "norm_pixels=True divides by the standard deviation of a patch, and patches have "
                "one pixel: set norm_pixels=False."
            )
        self.mask_ratio, self.norm_pixels = mask_ratio, norm_pixels
        self.mask_function = tube_mask if mask == "tube" else random_mask
        _ = self.visible_count  # raises where the mask does not fit the grid
        like = next(backbone.parameters())
        self.decoder = Decoder(
            self.layout.dim,
            decoder_dim,
            decoder_depth,
            decoder_heads,
            max(1, round(decoder_dim * decoder_mlp_ratio)),
            self.layout.grid,
            pixels,
            norm_eps,
        ).to(like.device, like.dtype)

    def init_weights(self) -> None:
        """Linear layers of the encoder start from Xavier's uniform distribution, as the decoder's
        do.
        """
        draw_from_xavier(self.backbone)

    def sample_mask(self, batch: int, device: torch.device | None = None) -> Tensor:
        """batch size B, device → a new mask, bool (B, N), True where masked."""
        return self.mask_function(batch, self.layout.grid, self.mask_ratio, device=device)

    def forward(self, batch: Batch) -> Loss:
        """Batch with images (B, C, *size), and maybe patch_mask (B, N) → Loss."""
        _, masked_index, predictions = self._predict(batch)
        return Loss(self._loss(batch["images"], masked_index, predictions), {})

    def predict(self, images: Tensor, patch_mask: Tensor | None = None) -> PatchPrediction:
        """Predicts the masked patches: `loss, predictions, mask = mae.predict(images)`.

        Args:
            images: normalized images (B, C, *size).
            patch_mask: bool (B, N), True where masked; None draws a mask.

        Returns:
            The loss of this mask, the predictions and the mask.

        Raises:
            DataError: the images or the mask do not fit the backbone.
        """
        batch = Batch(images=images, patch_mask=patch_mask)
        check_batch(self, batch)
        mask, masked_index, predictions = self._predict(batch)
        loss = self._loss(images, masked_index, predictions)
        index = masked_index[..., None].expand_as(predictions)
        whole = predictions.new_zeros(*mask.shape, predictions.shape[-1])
        return PatchPrediction(loss, whole.scatter(1, index, predictions), mask)

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → (3, B, C, *size): images, masked images, reconstructions.

        Visible patches are copied. Normalized predictions are rescaled by the mean and standard
        deviation of the true patch, as in the authors' figures.
        """
        mask, masked_index, predictions = self._predict(Batch(images=images))
        if self.norm_pixels:
            mean, std = _statistics(masked_pixels(images, self.layout.cell, masked_index))
            predictions = predictions * std + mean
        return reconstruction_rows(images, mask, self.layout.grid, masked_index, predictions)

    def _loss(self, images: Tensor, masked_index: Tensor, predictions: Tensor) -> Tensor:
        """The mean squared error of the predictions (B, M, C · prod(cell))."""
        targets = masked_pixels(images, self.layout.cell, masked_index)
        if self.norm_pixels:
            mean, std = _statistics(targets)
            targets = (targets - mean) / std
        predictions = at_least_float32(predictions)
        return F.mse_loss(predictions, targets.to(predictions))

    def _predict(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The mask, masked indices (B, M) and predictions (B, M, C · prod(cell))."""
        images = batch["images"]
        mask, visible = self.mask_of(batch, len(images), images.device)
        visible_index, masked_index = split_mask(mask, visible)
        features = self.embed_masked(images, mask, None).take(visible_index)
        return mask, masked_index, self.decoder(self.backbone.encode(features), masked_index)


class Decoder(nn.Module):
    """MAE's decoder, a small ViT from visible tokens to pixels of masked patches.

    Linear layers start from Xavier's uniform distribution and the mask token from a standard
    deviation of 0.02, as in the authors' models_mae.py.

    Args:
        dim_in: width of the encoder's tokens.
        dim: width of the decoder's tokens.
        depth: number of blocks.
        heads: number of attention heads.
        mlp_dim: hidden width of the MLPs.
        grid: patches per axis.
        pixels: numbers per patch.
        norm_eps: epsilon of the LayerNorms.

    Example:
        >>> decoder = Decoder(8, 16, 1, 2, 32, (2, 2), pixels=12, norm_eps=1e-6)
        >>> index = torch.tensor([[1, 3]])
        >>> visible = Features.from_map(torch.zeros(1, 2, 2, 8)).take(torch.tensor([[0, 2]]))
        >>> decoder(visible, index).shape
        torch.Size([1, 2, 12])
    """

    def __init__(
        self,
        dim_in: int,
        dim: int,
        depth: int,
        heads: int,
        mlp_dim: int,
        grid: Grid,
        pixels: int,
        norm_eps: float,
    ) -> None:
        super().__init__()
        self.embed = Linear(dim_in, dim)
        self.mask_token = Token(1, dim, decayed=True)
        # The authors' lowest frequency is one step above that of `sincos_positions`.
        steps = max(dim // (2 * len(grid)), 1)
        table = sincos_positions(grid, dim, 10_000 ** (1 - 1 / steps))
        self.register_buffer("position", table.to(self.mask_token.weight.dtype))
        self.position: Tensor
        self.blocks = nn.ModuleList(
            Block(dim, Attention(dim, heads), Mlp(dim, mlp_dim), norm_eps=norm_eps)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(dim, eps=norm_eps)
        self.head = Linear(dim, pixels)
        initialize(self)
        draw_from_xavier(self)

    def forward(self, features: Features, masked_index: Tensor) -> Tensor:
        """Features of the visible patches, masked indices (B, M) → pixels (B, M, pixels)."""
        assert features.keep_indices is not None
        tokens = self.embed(torch.cat([features.prefix, features.patches], dim=1))
        prefix, visible = tokens.split([features.prefix.shape[1], features.patches.shape[1]], dim=1)
        table = self.position[0]
        masked = self.mask_token(1) + table[masked_index]
        x = torch.cat([prefix, visible + table[features.keep_indices], masked], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, -masked_index.shape[1] :]))


def _statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """patches (B, M, pixels) → mean and standard deviation (B, M, 1), epsilon as the authors'."""
    variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
    return mean, (variance + 1e-6).sqrt()
