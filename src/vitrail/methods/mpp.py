"""Masked patch prediction: appendix B.1.2 of "An Image is Worth 16x16 Words" (Dosovitskiy et al.
2020, https://arxiv.org/abs/2010.11929), after BERT (Devlin et al. 2018).

    image ─ corrupt 50 % ─ embed ─ encode ─ linear ─ the mean color of each corrupted patch, of 512

Of the corrupted patches 80 % become the mask token, 10 % become another patch and 10 % stay. The
paper does not say where other patches come from. BERT's random words come from outside the
sentence; here they are patches of the same image that are not corrupted, so that a color to predict
is never visible elsewhere. Patches are exchanged as pixels, before the stem reads them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.errors import ConfigError
from vitrail.layers.dtypes import at_least_float32
from vitrail.layers.linear import Linear
from vitrail.layers.patch import patchify, unpatchify
from vitrail.layers.tokens import take
from vitrail.methods.base import Batch, Loss
from vitrail.methods.masked import Masked
from vitrail.methods.masking import random_mask, split_mask
from vitrail.models.base import Backbone
from vitrail.models.paper import Paper
from vitrail.models.parameters import initialize
from vitrail.values import Fraction, PositiveInt

MAX_COLORS = 4096


class MPP(Masked):
    """Predicts the mean color of corrupted patches, as one of (2^bits)^channels classes.

    Colors are measured on pixels from 0 to 1: the model's `preprocess` says how images were
    normalized.

    Args:
        backbone: a sequence or a pyramid.
        mask_ratio: fraction of the patches that is corrupted.
        token_ratio: fraction of the corrupted patches that become the mask token.
        swap_ratio: fraction of the corrupted patches that become another patch of the image. The
            remaining corrupted patches stay as they are.
        bits: bits per channel of a color.

    Raises:
        TierError: the backbone is neither a sequence nor a pyramid.
        ConfigError: the fractions exceed 1, there are too many colors, or the mask does not fit the
            grid.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=2, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> sorted(MPP(model)(Batch(images=torch.zeros(2, 3, 8, 8))).metrics)
        ['color_accuracy']
    """

    paper = Paper(
        "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
        "Dosovitskiy et al.",
        2020,
        "https://arxiv.org/abs/2010.11929",
        change="Predicts the mean color of masked patches: an appendix of the ViT paper.",
    )

    def __init__(
        self,
        backbone: Backbone,
        mask_ratio: Fraction = 0.5,
        token_ratio: Fraction = 0.8,
        swap_ratio: Fraction = 0.1,
        bits: PositiveInt = 3,
    ) -> None:
        super().__init__(backbone)
        if round(token_ratio + swap_ratio, 9) > 1:
            raise ConfigError(
                f"token_ratio={token_ratio} and swap_ratio={swap_ratio} add up to more than 1: "
                "lower one of them."
            )
        colors = 2 ** (bits * backbone.channels)
        if colors > MAX_COLORS:
            raise ConfigError(
                f"bits={bits} in {backbone.channels} channels are {colors} colors, more than "
                f"{MAX_COLORS}: use fewer bits or channels."
            )
        self.mask_ratio, self.token_ratio, self.swap_ratio = mask_ratio, token_ratio, swap_ratio
        self.bits = bits
        _ = self.visible_count  # raises where the mask does not fit the grid
        self.mask_token = self.new_mask_token()
        like = next(backbone.parameters())
        self.head = Linear(self.layout.dim, colors).to(like.device, like.dtype)
        initialize(self.head)

    def sample_mask(self, batch: int, device: torch.device | None = None) -> Tensor:
        """batch size B, device → a new mask, bool (B, N), True where corrupted."""
        return random_mask(batch, self.layout.grid, self.mask_ratio, device=device)

    def forward(self, batch: Batch) -> Loss:
        """Batch with images (B, C, *size), and maybe patch_mask (B, N) → Loss."""
        images, layout = batch["images"], self.layout
        mask, visible = self.mask_of(batch, len(images), images.device)
        visible_index, corrupted_index = split_mask(mask, visible)
        patches = patchify(images, layout.cell)
        corrupted, masked = self.corrupt(patches, mask, visible_index)
        corrupted = unpatchify(corrupted, layout.cell, layout.grid)
        features = self.backbone.encode(self.embed_masked(corrupted, masked, self.mask_token))
        logits = at_least_float32(self.head(take(features.patches, corrupted_index)))
        targets = self.color_classes(take(patches, corrupted_index))
        accuracy = (logits.argmax(-1) == targets).to(logits.dtype).mean()
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return Loss(loss, {"color_accuracy": accuracy})

    def corrupt(
        self, patches: Tensor, mask: Tensor, visible_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Draws what each corrupted patch becomes.

        Args:
            patches: (B, N, C · prod(cell)).
            mask: bool (B, N), True where corrupted.
            visible_index: (B, K), indices of the other patches.

        Returns:
            The patches, some replaced by others of their image, and bool (B, N), True where the
            mask token goes.
        """
        draw = torch.rand(mask.shape, device=mask.device)
        masked = mask & (draw < self.token_ratio)
        swapped = mask & ~masked & (draw < self.token_ratio + self.swap_ratio)
        source = torch.randint(visible_index.shape[1], mask.shape, device=mask.device)
        others = take(patches, visible_index.gather(1, source))
        return torch.where(swapped[..., None], others, patches), masked

    def color_classes(self, patches: Tensor) -> Tensor:
        """patches (B, M, C · prod(cell)) → the class of each patch's mean color, int64 (B, M)."""
        color = patches.unflatten(-1, (self.backbone.channels, -1)).mean(dim=-1)
        preprocess, channels = self.backbone.preprocess, self.backbone.channels
        if preprocess is None or len(preprocess.mean) != channels:
            raise ConfigError(
                f"preprocess={preprocess!r} does not say how images of {channels} channels were "
                "normalized: set model.preprocess = vitrail.preprocess.Preprocess.for_size("
                "model.image_size, model.channels)."
            )
        mean, std = preprocess.mean, preprocess.std
        color = color * color.new_tensor(std) + color.new_tensor(mean)
        levels = 2**self.bits
        level = (color * levels).long().clamp(0, levels - 1)
        digits = levels ** torch.arange(level.shape[-1], device=level.device)
        return (level * digits).sum(dim=-1)
