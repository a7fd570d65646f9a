"""The base class of methods that learn from masked images."""

import abc
import functools
from typing import ClassVar, Literal

import torch
from torch import Tensor

from vitrail.layers.patch import check_images
from vitrail.layers.tokens import Token
from vitrail.methods.base import Batch
from vitrail.methods.batch_checks import check_image_size, check_mask_shape
from vitrail.methods.masking import (
    add_mask_token,
    embed_masked,
    split_mask,
)
from vitrail.methods.pretraining import Pretraining
from vitrail.models.base import Backbone
from vitrail.models.features import Features
from vitrail.models.tiers import PyramidBackbone, SequenceBackbone


class Masked(Pretraining):
    """Base class of methods that mask cells of the output grid and predict what was there.

    A subclass implements `sample_mask`.

    Args:
        backbone: model to train.
        reads: what the loss reads of the backbone, as in `Pretraining`.

    Raises:
        TierError: the backbone is neither a sequence nor a pyramid.
        ConfigError: cells of the output grid are no whole pixels.

    Example:
        >>> from vitrail.methods.simmim import SimMIM
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=2, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> visible_index, masked_index = SimMIM(model, mask_ratio=0.5).sample_indices(batch=3)
        >>> visible_index.shape, masked_index.shape
        (torch.Size([3, 8]), torch.Size([3, 8]))
    """

    tier: ClassVar[tuple[type[Backbone], ...]] = (SequenceBackbone, PyramidBackbone)

    def __init__(
        self,
        backbone: Backbone,
        *,
        reads: Literal["patches", "tokens", "pooled", "all"] = "patches",
    ) -> None:
        super().__init__(backbone, reads=reads)
        self.needs_whole_cells()

    @abc.abstractmethod
    def sample_mask(self, batch: int, device: torch.device | None = None) -> Tensor:
        """batch size B, device → a new mask, bool (B, N), True where masked."""

    def check_images(self, images: Tensor) -> None:
        """Checks that images can be masked.

        Args:
            images: (B, C, *size).

        Raises:
            DataError: they are no batch of images of the model's own size.
            ConfigError: the model has another size than when the method was made.
        """
        backbone = self.backbone
        backbone.check_input(images)
        check_images(images, backbone.channels, len(backbone.image_size))
        check_image_size(backbone, images)
        self.require_same_layout()

    def mask_of(self, batch: Batch, size: int, device: torch.device) -> tuple[Tensor, int | None]:
        """The mask of a batch, drawn if the batch has none.

        Args:
            batch: what the method learns from.
            size: number of images B.
            device: device of a new mask.

        Returns:
            The mask, bool (B, N), and the number of visible patches per image where it is known
            without asking the device; None for a mask of the batch.

        Raises:
            DataError: the images are no batch, or the mask does not fit them.
        """
        self.check_images(batch["images"])
        if batch.patch_mask is not None:
            check_mask_shape(batch.patch_mask, size, self.layout.grid)
            return batch.patch_mask, None
        return self.sample_mask(size, device), self.visible_count

    def sample_indices(self, batch: int) -> tuple[Tensor, Tensor]:
        """batch size B → visible (B, K) and masked indices (B, M) of a new mask."""
        return split_mask(self.sample_mask(batch), self.visible_count)

    @functools.cached_property
    def visible_count(self) -> int:
        """The number of visible patches per image, the same in every mask that is drawn.

        Constructors ask for it, so that a mask that does not fit the grid is an error at once.
        """
        with torch.random.fork_rng(devices=()):  # the count moves no generator
            return int((~self.sample_mask(1)).sum())

    def new_mask_token(self) -> Token:
        """A mask token for embedded patches, on the backbone's device; its authors decay it."""
        like = next(self.backbone.parameters())
        token = Token(1, self.layout.embedded_dim, decayed=True)
        return token.to(like.device, like.dtype)

    def embed_masked(self, images: Tensor, mask: Tensor, mask_token: Token | None) -> Features:
        """Embeds images without their masked cells.

        Args:
            images: (B, C, *size).
            mask: bool (B, N) over the output grid, True where masked.
            mask_token: token that is added to masked cells; None for none.

        Returns:
            Features of all patches. Positions are added to masked ones as to the others.
        """
        features = embed_masked(self.backbone, images, mask, self.layout.grid)
        if mask_token is None:
            return features
        return add_mask_token(features, mask, self.layout.grid, mask_token(1))
