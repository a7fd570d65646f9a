"""BEiT: masked image modelling of visual tokens (Bao et al. 2021,
https://arxiv.org/abs/2106.08254).

    image ─ hide blocks ─ embed ─ + mask token where hidden ─ encode ─ linear ─ one of the codes
      └ tokenizer ─ a code of each cell, seen whole ─────────────── cross-entropy where hidden

The paper's tokenizer is DALL-E's, of 8,192 codes. Here it is a `dvae` that was trained before, or
any function. As in SimMIM, pixels are zeroed and the mask token added, which gives the paper's
output on any stem: `mask_token` is the paper's less the bias of the patches.

The model named BEiT wants `pool: cls` for this: with "mean" its last norm belongs to the pooled
features, and the linear layer would read tokens that are not normalised.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError, DataError, check_choice, check_range
from vitrail.layers.linear import Linear
from vitrail.layers.tokens import take
from vitrail.methods.base import Loss, Masked
from vitrail.methods.frozen import Frozen
from vitrail.methods.masking import block_mask, embed_hidden, mark, random_mask, split
from vitrail.models.base import Backbone, initialise
from vitrail.models.paper import Paper


class BEiTPretraining(Masked):
    """Encodes all patches, the hidden ones as mask tokens; a linear layer names their codes.

    Args:
        tokenizer: images (B, C, *size) as the backbone sees them → codes, whole numbers (B, N), of
            the cells of the backbone's output grid; or what has such a method `tokens`, as `dvae`
            has. In a recipe: a run of `dvae`, or python:FILE_OR_MODULE:FUNCTION.
        vocabulary: how many codes there are; None: `tokenizer.vocabulary`.
        mask_ratio: part of the cells that is hidden. mask: "block" or "random".
    """

    paper = Paper(
        "BEiT: BERT Pre-Training of Image Transformers",
        "Bao et al.",
        2021,
        "https://arxiv.org/abs/2106.08254",
    )

    def __init__(
        self,
        backbone: Backbone,
        tokenizer: Callable[[Tensor], Tensor],
        vocabulary: int | None = None,
        mask_ratio: float = 0.4,
        mask: str = "block",
    ) -> None:
        super().__init__(backbone)
        check_range("mask_ratio", mask_ratio, 0, 1)
        check_choice("mask", mask, ("block", "random"))
        vocabulary = vocabulary or getattr(tokenizer, "vocabulary", None)
        if vocabulary is None:
            raise ConfigError("this tokenizer does not say how many codes it has: set vocabulary.")
        check_range("vocabulary", vocabulary, 2)
        self.tokenizer = Frozen(tokenizer, "tokens")
        self.tokenizer.vocabulary = vocabulary  # is kept with the method, where the rest is not
        self.mask_ratio, self.mask = mask_ratio, mask
        self.keep_indices = int((~self.draw(1)).sum())
        like = next(backbone.parameters())
        self.mask_token = nn.Parameter(like.new_empty(1, 1, self.layout.embedded_dim))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.head = Linear(self.layout.dim, vocabulary).to(like.device, like.dtype)
        initialise(self.head)

    def draw(self, batch: int, device: torch.device | None = None) -> Tensor:
        """A new mask: bool (batch, N), True where hidden."""
        drawn = block_mask if self.mask == "block" else random_mask
        return drawn(batch, self.layout.grid, self.mask_ratio, device=device)

    def forward(
        self, images: Tensor, _targets: Tensor | None = None, mask: Tensor | None = None
    ) -> Loss:
        """images float (B, C, *size).

        mask: bool (B, N), True where hidden, as many in each row; None draws one.
        """
        known = None if mask is not None else self.keep_indices
        mask = self.draw(len(images), images.device) if mask is None else mask
        _, hidden = split(mask, known)
        codes = self._codes(images).gather(1, hidden).flatten()
        grid = self.layout.grid
        features = embed_hidden(self.backbone, images, mask, grid)
        features = self.backbone.encode(mark(features, mask, grid, self.mask_token))
        logits = self.head(take(features.patches, hidden)).flatten(0, 1)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        right = (logits.detach().argmax(1) == codes).float().mean()
        return Loss(F.cross_entropy(logits, codes), {"accuracy": right})

    def _codes(self, images: Tensor) -> Tensor:
        codes = self.tokenizer(images, self.backbone.preprocess)
        wanted = len(images), math.prod(self.layout.grid)
        if tuple(codes.shape) != wanted:
            raise DataError(
                f"the tokenizer gives codes of shape {tuple(codes.shape)}, and the grid of this "
                f"{type(self.backbone).__name__}'s features, {self.layout.grid}, needs {wanted}: "
                "train one on the same grid."
            )
        return codes
