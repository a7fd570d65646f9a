"""SimMIM: masked image modelling by one linear layer (Xie et al. 2021,
https://arxiv.org/abs/2111.09886).

    image ─ hide 60 % ─ embed ─ + mask token where hidden ─ encode ─ linear ─ pixels of each cell

Cells are places of the output grid: of a pyramid 32 × 32 pixels or so, whose linear layer is the
paper's 1 × 1 convolution and pixel shuffle on the last stage.

The paper replaces the embedding of a hidden patch. Here its pixels are zeroed before anything reads
them, which works with every stem, and the token is added: `mask_token` is the paper's, less what
`embed` makes of zeros, without positions (of ViT the bias of its patches, of Swin that bias
normalised). The output is the same. One thing follows: that bias learns from hidden patches too.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import check_range
from vitrail.layers.linear import Linear
from vitrail.layers.patch import patchify
from vitrail.layers.tokens import take
from vitrail.methods.base import Loss, Masked
from vitrail.methods.masking import embed_hidden, mark, pictures, random_mask, split
from vitrail.models.base import Backbone, initialise
from vitrail.models.paper import Paper


class SimMIM(Masked):
    """Encodes all patches, the hidden ones as mask tokens; a linear layer predicts their pixels.

    Args:
        mask_ratio: part of the cells that is hidden.
        mask_unit: cells along each axis that are hidden together. The paper's units have 32 pixels:
            2 of a ViT with patches of 16, 1 of most pyramids.
    """

    paper = Paper(
        "SimMIM: A Simple Framework for Masked Image Modeling",
        "Xie et al.",
        2021,
        "https://arxiv.org/abs/2111.09886",
    )

    def __init__(self, backbone: Backbone, mask_ratio: float = 0.6, mask_unit: int = 1) -> None:
        super().__init__(backbone)
        check_range("mask_ratio", mask_ratio, 0, 1)
        check_range("mask_unit", mask_unit, 1)
        self.mask_ratio, self.mask_unit = mask_ratio, mask_unit
        self.keep_indices = int((~self.draw(1)).sum())
        like = next(backbone.parameters())
        self.mask_token = nn.Parameter(like.new_empty(1, 1, self.layout.embedded_dim))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        pixels = backbone.channels * math.prod(self.layout.cell)
        self.head = Linear(self.layout.dim, pixels).to(like.device, like.dtype)
        initialise(self.head)

    def draw(self, batch: int, device: torch.device | None = None) -> Tensor:
        """A new mask: bool (batch, N), True where hidden."""
        grid, ratio = self.layout.grid, self.mask_ratio
        return random_mask(batch, grid, ratio, unit=self.mask_unit, device=device)

    def forward(
        self, images: Tensor, _targets: Tensor | None = None, mask: Tensor | None = None
    ) -> Loss:
        """images float (B, C, *size).

        mask: bool (B, N), True where hidden, as many in each row; None draws one.
        """
        _, hidden, predicted = self._predict(images, mask)
        wanted = take(patchify(images, self.layout.cell), hidden)
        predicted = predicted.to(torch.promote_types(predicted.dtype, torch.float32))
        return Loss(F.l1_loss(predicted, wanted.to(predicted)), {})

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → (3, B, C, *size): given, masked, rebuilt where masked."""
        mask, hidden, predicted = self._predict(images, None)
        return pictures(images, mask, self.layout.grid, hidden, predicted)

    def _predict(self, images: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """The mask, the hidden cells (B, M) and what is predicted there (B, M, C · prod(cell))."""
        known = None if mask is not None else self.keep_indices
        mask = self.draw(len(images), images.device) if mask is None else mask
        _, hidden = split(mask, known)
        features = embed_hidden(self.backbone, images, mask, self.layout.grid)
        features = mark(features, mask, self.layout.grid, self.mask_token)
        return mask, hidden, self.head(take(self.backbone.encode(features).patches, hidden))
