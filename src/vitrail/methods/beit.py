"""BEiT: masked image modelling of visual tokens (Bao et al. 2021,
https://arxiv.org/abs/2106.08254).

    image ─ mask blocks ─ embed ─ + mask token where masked ─ encode ─ linear ─ logits of the codes
      └ tokenizer ─ the code of each cell ──────────────── cross-entropy where masked

The paper's tokenizer is DALL-E's, with 8,192 codes. Here it is a `dvae` that was trained before, or
any function; it sees the whole image. As in SimMIM, masked pixels are set to 0 and the mask token
is added, which gives the paper's output on any stem: `mask_token` is the paper's minus the bias of
the patch embedding.

The model class BEiT needs `pool="cls"` for this method: with "mean" its last norm belongs to the
pooled features, and the linear layer would read tokens that are not normalized.
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, Protocol, cast, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.errors import ConfigError, DataError
from vitrail.layers.dtypes import at_least_float32
from vitrail.layers.linear import Linear
from vitrail.layers.tokens import take
from vitrail.methods.base import Batch, Loss
from vitrail.methods.batch_checks import check_codes
from vitrail.methods.frozen import Frozen, require_own_weights
from vitrail.methods.initial_values import draw_narrowly
from vitrail.methods.masked import Masked
from vitrail.methods.masking import block_mask, random_mask, split_mask
from vitrail.models.base import Backbone
from vitrail.models.paper import Paper
from vitrail.models.parameters import initialize
from vitrail.values import Fraction, Range


@runtime_checkable
class HasTokens(Protocol):
    """A tokenizer of images, such as `DVAE`.

    Example:
        >>> isinstance(len, HasTokens)
        False
    """

    def tokens(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → codes of their cells (B, N)."""
        ...


class BEiTPretraining(Masked):
    """Encodes all patches, masked ones as mask tokens; a linear layer predicts their codes.

    Args:
        backbone: a sequence or a pyramid.
        tokenizer: function from images (B, C, *size), as the backbone sees them, to the codes of
            the cells of its output grid, int64 (B, N); or an object with such a method `tokens`,
            as `DVAE` is. In a recipe: a run of `dvae`, or python:FILE_OR_MODULE:FUNCTION.
        vocabulary: number of codes; None for `tokenizer.vocabulary`.
        mask_ratio: fraction of the cells that is masked.
        mask: "block" or "random".

    Raises:
        TierError: the backbone is neither a sequence nor a pyramid.
        ConfigError: the number of codes is unknown, or the mask does not fit the grid.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=2, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> codes = lambda images: torch.zeros(len(images), 16, dtype=torch.long)
        >>> beit = BEiTPretraining(model, codes, vocabulary=4)
        >>> beit(Batch(images=torch.zeros(2, 3, 8, 8))).loss.shape
        torch.Size([])
    """

    paper = Paper(
        "BEiT: BERT Pre-Training of Image Transformers",
        "Bao et al.",
        2021,
        "https://arxiv.org/abs/2106.08254",
        change="Predicts the discrete tokens of masked patches, as BERT does words.",
    )
    named: ClassVar[Mapping[str, str]] = {"tokenizer": "image_tokenizer"}

    def __init__(
        self,
        backbone: Backbone,
        tokenizer: Callable[[Tensor], Tensor] | HasTokens,
        vocabulary: Annotated[int, Range(2)] | None = None,
        mask_ratio: Fraction = 0.4,
        mask: Literal["block", "random"] = "block",
    ) -> None:
        super().__init__(backbone)
        require_own_weights(backbone, tokenizer, "tokenizer")
        self.tokenizer = Frozen(cast("Callable[..., Any]", tokenizer), "tokens")
        vocabulary = vocabulary or getattr(tokenizer, "vocabulary", None)
        if not isinstance(vocabulary, int):
            raise ConfigError("this tokenizer does not say how many codes it has: set vocabulary.")
        self.vocabulary = vocabulary
        self.mask_ratio = mask_ratio
        self.mask_function = block_mask if mask == "block" else random_mask
        _ = self.visible_count  # raises where the mask does not fit the grid
        self.mask_token = self.new_mask_token()
        like = next(backbone.parameters())
        self.head = Linear(self.layout.dim, vocabulary).to(like.device, like.dtype)
        initialize(self.head)
        draw_narrowly(self.head)

    def init_weights(self) -> None:
        """Everything starts from a narrow normal distribution, as in the authors' code."""
        draw_narrowly(self.backbone)
        draw_narrowly(self.mask_token)

    def resolved_settings(self) -> dict[str, object]:
        """The settings with the number of codes, which need no tokenizer."""
        return {**self.settings, "vocabulary": self.vocabulary}

    def sample_mask(self, batch: int, device: torch.device | None = None) -> Tensor:
        """batch size B, device → a new mask, bool (B, N), True where masked."""
        return self.mask_function(batch, self.layout.grid, self.mask_ratio, device=device)

    def forward(self, batch: Batch) -> Loss:
        """Batch with images (B, C, *size), and maybe patch_mask (B, N) → Loss."""
        images = batch["images"]
        mask, visible = self.mask_of(batch, len(images), images.device)
        _, masked_index = split_mask(mask, visible)
        codes = self._codes(images).gather(1, masked_index).flatten()
        features = self.backbone.encode(self.embed_masked(images, mask, self.mask_token))
        logits = self.head(take(features.patches, masked_index)).flatten(0, 1)
        logits = at_least_float32(logits)
        accuracy = (logits.detach().argmax(1) == codes).float().mean()
        return Loss(F.cross_entropy(logits, codes), {"accuracy": accuracy})

    def _codes(self, images: Tensor) -> Tensor:
        codes = self.tokenizer(images, self.backbone.preprocess)
        shape = len(images), math.prod(self.layout.grid)
        if isinstance(codes, Tensor) and tuple(codes.shape) != shape:
            raise DataError(
                f"the tokenizer gives codes of shape {tuple(codes.shape)}, and the grid of this "
                f"{type(self.backbone).__name__}'s features, {self.layout.grid}, needs {shape}: "
                "train one on the same grid."
            )
        check_codes(codes, self.layout.grid, self.vocabulary)
        return codes.long()
