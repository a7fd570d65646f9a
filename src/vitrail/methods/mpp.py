"""Masked patch prediction: appendix B.1.2 of "An Image is Worth 16x16 Words" (Dosovitskiy et al.
2020, https://arxiv.org/abs/2010.11929), after BERT (Devlin et al. 2018).

    image ─ corrupt 50 % ─ embed ─ encode ─ linear ─ which mean colour, of 512, each of these had

Of the corrupted patches 80 % become the mask token, 10 % another patch of the image and 10 % stay.
The paper does not say where other patches come from. BERT's random words come from outside the
sentence; here they are patches of the same image that are not corrupted, so that what is to be
guessed stands nowhere else. Patches are exchanged as pixels, before the stem sees them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError, check_range
from vitrail.layers.linear import Linear
from vitrail.layers.patch import patchify, unpatchify
from vitrail.layers.tokens import take
from vitrail.methods.base import Loss, Masked
from vitrail.methods.masking import embed_hidden, mark, random_mask, split
from vitrail.models.base import Backbone, initialise
from vitrail.models.paper import Paper

MOST_COLOURS = 4096


class MPP(Masked):
    """Predicts the mean colour of corrupted patches, as one of (2^bits)^channels classes.

    Colours are on 0..1: the model's `preprocess`, if it carries one, says how images were
    normalised. Without one, images are taken as they are.

    Args:
        mask_ratio: part of the patches that is corrupted.
        token_ratio, swap_ratio: of these, how many become the mask token, and how many another
            patch; the rest stay as they are.
        bits: of each channel of a colour.
    """

    paper = Paper(
        "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
        "Dosovitskiy et al.",
        2020,
        "https://arxiv.org/abs/2010.11929",
    )

    def __init__(
        self,
        backbone: Backbone,
        mask_ratio: float = 0.5,
        token_ratio: float = 0.8,
        swap_ratio: float = 0.1,
        bits: int = 3,
    ) -> None:
        super().__init__(backbone)
        check_range("mask_ratio", mask_ratio, 0, 1)
        check_range("token_ratio", token_ratio, 0, 1)
        check_range("swap_ratio", swap_ratio, 0, 1)
        check_range("token_ratio + swap_ratio", round(token_ratio + swap_ratio, 9), 0, 1)
        check_range("bits", bits, 1)
        colours = 2 ** (bits * backbone.channels)
        if colours > MOST_COLOURS:
            raise ConfigError(
                f"bits={bits} in {backbone.channels} channels are {colours} colours, more than "
                f"{MOST_COLOURS}: use fewer bits or channels."
            )
        self.mask_ratio, self.token_ratio, self.swap_ratio = mask_ratio, token_ratio, swap_ratio
        self.bits = bits
        self.keep_indices = int((~random_mask(1, self.layout.grid, mask_ratio)).sum())
        like = next(backbone.parameters())
        self.mask_token = nn.Parameter(like.new_empty(1, 1, self.layout.embedded_dim))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.head = Linear(self.layout.dim, colours).to(like.device, like.dtype)
        initialise(self.head)

    def forward(
        self, images: Tensor, _targets: Tensor | None = None, mask: Tensor | None = None
    ) -> Loss:
        """images float (B, C, *size).

        mask: bool (B, N), True where corrupted, as many in each row; None draws one.
        """
        layout, known = self.layout, None if mask is not None else self.keep_indices
        if mask is None:
            mask = random_mask(len(images), layout.grid, self.mask_ratio, device=images.device)
        kept, corrupted = split(mask, known)
        patches = patchify(images, layout.cell)
        changed, hidden = self.corrupt(patches, mask, kept)
        changed = unpatchify(changed, layout.cell, layout.grid)
        features = embed_hidden(self.backbone, changed, hidden, layout.grid)
        features = mark(features, hidden, layout.grid, self.mask_token)
        logits = self.head(take(self.backbone.encode(features).patches, corrupted))
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        wanted = self.colours(take(patches, corrupted))
        right = (logits.argmax(-1) == wanted).to(logits.dtype).mean()
        return Loss(F.cross_entropy(logits.flatten(0, 1), wanted.flatten()), {"colours": right})

    def corrupt(self, patches: Tensor, mask: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Draws what becomes of each masked patch; kept (B, K) are the places of the others.

        patches (B, N, C · prod(cell)) → patches, some replaced by others of their image, and where
        the mask token goes, bool (B, N).
        """
        fate = torch.rand(mask.shape, device=mask.device)
        hidden = mask & (fate < self.token_ratio)
        swapped = mask & ~hidden & (fate < self.token_ratio + self.swap_ratio)
        other = torch.randint(kept.shape[1], mask.shape, device=mask.device)
        others = take(patches, kept.gather(1, other))
        return torch.where(swapped[..., None], others, patches), hidden

    def colours(self, patches: Tensor) -> Tensor:
        """patches (B, M, C · prod(cell)) → the class of each one's mean colour, long (B, M)."""
        colour = patches.unflatten(-1, (self.backbone.channels, -1)).mean(dim=-1)
        if self.backbone.preprocess is not None:
            mean, std = self.backbone.preprocess.mean, self.backbone.preprocess.std
            colour = colour * colour.new_tensor(std) + colour.new_tensor(mean)
        levels = 2**self.bits
        level = (colour * levels).long().clamp(0, levels - 1)
        places = levels ** torch.arange(level.shape[-1], device=level.device)
        return (level * places).sum(dim=-1)
