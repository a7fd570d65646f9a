"""SimMIM: masked image modelling by one linear layer (Xie et al. 2021,
https://arxiv.org/abs/2111.09886).

    image ─ mask 60 % ─ embed ─ + mask token where masked ─ encode ─ linear ─ pixels of each cell

Cells are cells of the output grid. In a pyramid a cell has about 32 × 32 pixels, and the linear
layer is the paper's 1 × 1 convolution and pixel shuffle on the last stage.

The paper replaces the embedding of a masked patch. Here its pixels are set to 0 before anything
reads them, which works with every stem, and the token is added: `mask_token` is the paper's token
minus what `embed` makes of zeros, without positions. In ViT that is the bias of the patch
embedding, in Swin that bias normalized. The output is the same. One difference follows: that bias
also learns from masked patches.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.layers.dtypes import at_least_float32
from vitrail.layers.linear import Linear
from vitrail.layers.tokens import take
from vitrail.methods.base import Batch, Loss
from vitrail.methods.initial_values import draw_narrowly
from vitrail.methods.masked import Masked
from vitrail.methods.masking import masked_pixels, random_mask, reconstruction_rows, split_mask
from vitrail.models.base import Backbone
from vitrail.models.paper import Paper
from vitrail.models.tiers import SequenceBackbone
from vitrail.values import Fraction, PositiveInt


class SimMIM(Masked):
    """Encodes all patches, masked ones as mask tokens; a linear layer predicts masked pixels.

    Args:
        backbone: a sequence or a pyramid.
        mask_ratio: fraction of the cells that is masked.
        mask_unit: cells along each axis that are masked together. The paper's units have 32 pixels:
            2 cells of a ViT with patches of 16, 1 cell of most pyramids.

    Raises:
        TierError: the backbone is neither a sequence nor a pyramid.
        ConfigError: the mask does not fit the grid.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=2, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> SimMIM(model)(Batch(images=torch.zeros(2, 3, 8, 8))).loss.shape
        torch.Size([])
    """

    paper = Paper(
        "SimMIM: A Simple Framework for Masked Image Modeling",
        "Xie et al.",
        2021,
        "https://arxiv.org/abs/2111.09886",
        change="Mask tokens stay in the encoder; one linear layer predicts the pixels.",
    )

    def __init__(
        self, backbone: Backbone, mask_ratio: Fraction = 0.6, mask_unit: PositiveInt = 1
    ) -> None:
        super().__init__(backbone)
        self.mask_ratio, self.mask_unit = mask_ratio, mask_unit
        _ = self.visible_count  # raises where the mask does not fit the grid
        self.mask_token = self.new_mask_token()
        like = next(backbone.parameters())
        pixels = backbone.channels * math.prod(self.layout.cell)
        # It starts as nn.Linear does: the authors' convolution is left as PyTorch has it.
        self.head = Linear(self.layout.dim, pixels).to(like.device, like.dtype)

    def init_weights(self) -> None:
        """A sequence starts as the authors' ViT does, from a narrow normal distribution."""
        if isinstance(self.backbone, SequenceBackbone):
            draw_narrowly(self.backbone)
            draw_narrowly(self.mask_token)

    def sample_mask(self, batch: int, device: torch.device | None = None) -> Tensor:
        """batch size B, device → a new mask, bool (B, N), True where masked."""
        grid, ratio = self.layout.grid, self.mask_ratio
        return random_mask(batch, grid, ratio, unit=self.mask_unit, device=device)

    def forward(self, batch: Batch) -> Loss:
        """Batch with images (B, C, *size), and maybe patch_mask (B, N) → Loss."""
        images = batch["images"]
        _, masked_index, predictions = self._predict(batch)
        targets = masked_pixels(images, self.layout.cell, masked_index)
        predictions = at_least_float32(predictions)
        return Loss(F.l1_loss(predictions, targets.to(predictions)), {})

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → (3, B, C, *size): images, masked images, reconstructions."""
        mask, masked_index, predictions = self._predict(Batch(images=images))
        return reconstruction_rows(images, mask, self.layout.grid, masked_index, predictions)

    def _predict(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The mask, masked indices (B, M) and predictions (B, M, C · prod(cell))."""
        images = batch["images"]
        mask, visible = self.mask_of(batch, len(images), images.device)
        _, masked_index = split_mask(mask, visible)
        features = self.backbone.encode(self.embed_masked(images, mask, self.mask_token))
        return mask, masked_index, self.head(take(features.patches, masked_index))
