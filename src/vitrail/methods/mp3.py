"""MP3: "Position Prediction as an Effective Pretraining Strategy" (Zhai et al. 2022,
https://arxiv.org/abs/2207.07611).

    image ─ patches without positions ─ encode (keys: visible patches) ─ linear ─ positions

The order of the patches is what the model has to find out: no position is added, so that without
them attention is a function of a set. In every block all patches are queries, but only the visible
ones are keys and values: a masked patch finds its position from what the others look like. The
patch's index is one of N classes, for masked and for visible patches.

Positions are not trained: a learned table keeps its initial values, for fine-tuning to begin with.
In vit-pytorch the keys and values of every block are the tokens before the first one.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.errors import ConfigError, DataError
from vitrail.layers.dtypes import at_least_float32
from vitrail.layers.linear import Linear
from vitrail.methods.base import Batch, Loss
from vitrail.methods.masked import Masked
from vitrail.methods.masking import random_mask, split_mask
from vitrail.models.base import Backbone
from vitrail.models.paper import Paper
from vitrail.models.parameters import initialize
from vitrail.models.vit import ViT
from vitrail.values import Fraction


class MP3(Masked):
    """Predicts the position of every patch of a ViT that adds no positions.

    Args:
        backbone: a ViT.
        mask_ratio: fraction of the patches that no patch attends to.

    Raises:
        TierError: the backbone is no ViT.
        ConfigError: the backbone rotates the residual by positions, or the mask does not fit the
            grid.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=2, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> sorted(MP3(model)(Batch(images=torch.zeros(2, 3, 8, 8))).metrics)
        ['position_accuracy']
    """

    paper = Paper(
        "Position Prediction as an Effective Pretraining Strategy",
        "Zhai et al.",
        2022,
        "https://arxiv.org/abs/2207.07611",
        change="Predicts where patches are from what they and others look like.",
    )
    tier = (ViT,)
    backbone: ViT

    def __init__(self, backbone: Backbone, mask_ratio: Fraction = 0.75) -> None:
        super().__init__(backbone)
        model = self.backbone
        if model.residual_rope:
            raise ConfigError("MP3 predicts positions, and residual_rope=True gives them away.")
        self.mask_ratio = mask_ratio
        _ = self.visible_count  # raises where the mask does not fit the grid
        if model.position_kind == "learned":
            model.position.requires_grad_(False)
        like = next(model.parameters())
        self.head = Linear(model.dim, math.prod(model.grid)).to(like.device, like.dtype)
        initialize(self.head)

    def sample_mask(self, batch: int, device: torch.device | None = None) -> Tensor:
        """batch size B, device → a new mask, bool (B, N), True where no patch attends."""
        return random_mask(batch, self.layout.grid, self.mask_ratio, device=device)

    def forward(self, batch: Batch) -> Loss:
        """Batch with images (B, C, *size), and maybe patch_mask (B, N) → Loss."""
        images = batch["images"]
        mask, visible = self.mask_of(batch, len(images), images.device)
        split_mask(mask, visible)  # raises where no patch is visible
        logits = at_least_float32(self.head(self.encode_set(images, mask)))
        targets = torch.arange(logits.shape[1], device=images.device).expand(logits.shape[:2])
        accuracy = (logits.argmax(-1) == targets).to(logits.dtype).mean()
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return Loss(loss, {"position_accuracy": accuracy})

    def encode_set(self, images: Tensor, mask: Tensor) -> Tensor:
        """Encodes patches without their positions.

        Args:
            images: (B, C, *size), of the model's own size.
            mask: bool (B, N), True for patches that are no keys.

        Returns:
            All patches (B, N, D), normalized. A permutation of the patches permutes them alike.

        Raises:
            DataError: the images have another size than the model, so their grid would be another.
        """
        model = self.backbone
        features = model.embed_without_positions(images)
        if features.grid != self.layout.grid:
            raise DataError(
                f"images of {tuple(images.shape[2:])} pixels do not fit positions of "
                f"{model.image_size}: resize the images, or build the model with their image_size."
            )
        tokens = model.emb_dropout(torch.cat([features.prefix, features.patches], dim=1))
        prefix = features.prefix.shape[1]
        bias = tokens.new_zeros(len(mask), 1, 1, tokens.shape[1])
        bias = bias.masked_fill(F.pad(mask, (prefix, 0))[:, None, None], -torch.inf)
        return model.norm(model.run_blocks(tokens, None, bias))[:, prefix:]  # None: no rotations
