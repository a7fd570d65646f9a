"""The base class of methods that need no labels."""

from typing import ClassVar, Literal, NamedTuple

import torch
from torch import nn

from vitrail.errors import ConfigError
from vitrail.methods.base import Input, Method
from vitrail.models.base import Backbone


class Layout(NamedTuple):
    """Shapes of what a backbone computes from an image of its own size.

    Args:
        embedded_grid: grid of the tokens that `embed` returns.
        embedded_dim: width of these tokens.
        grid: grid of the features; coarser in a pyramid.
        dim: width of the features' patches.
        cell: pixels along each axis that one patch of `grid` stands for.

    Example:
        >>> Layout((4, 4), 8, (2, 2), 16, (8, 8)).grid
        (2, 2)
    """

    embedded_grid: tuple[int, ...]
    embedded_dim: int
    grid: tuple[int, ...]
    dim: int
    cell: tuple[int, ...]


class Pretraining(Method):
    """Base class of methods that need no labels.

    The head is removed, and parameters that the loss cannot reach are frozen. The last blocks of
    CaiT, for example, only summarize the patches, and a loss on patches gives them no gradient;
    unless they are frozen, data-parallel training waits for it.

    Args:
        backbone: model to train.
        reads: what the loss reads of the backbone: "patches", "tokens" (patches and prefix),
            "pooled", or "all" of these.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> Pretraining(model).layout.grid
        (2, 2)
    """

    inputs: ClassVar[tuple[Input, ...]] = ("images",)
    has_validation_loss = True

    def __init__(
        self,
        backbone: Backbone,
        *,
        reads: Literal["patches", "tokens", "pooled", "all"] = "patches",
    ) -> None:
        super().__init__(backbone)
        backbone.reset_head(0)
        self.reads = reads
        self.layout = _probe_layout(backbone, reads)

    def needs_whole_cells(self) -> None:
        """Checks that each cell of the output grid covers whole pixels, so that it can be masked.

        Raises:
            ConfigError: the grid does not divide the image.
        """
        size, grid = self.backbone.image_size, self.layout.grid
        if len(grid) != len(size) or any(s % g for s, g in zip(size, grid, strict=True)):
            raise ConfigError(
                f"{type(self).__name__} masks whole cells, and {_times(size)} pixels do not divide "
                f"into the {_times(grid)} grid of this {type(self.backbone).__name__}: change "
                "image_size."
            )

    def require_same_layout(self) -> None:
        """Checks that the backbone is for images of the size that the method was made for.

        Raises:
            ConfigError: it is not, as after `resized`, and cells of the grid would be others.
        """
        pairs = zip(self.layout.grid, self.layout.cell, strict=True)
        size = tuple(cells * pixels for cells, pixels in pairs)
        if size != self.backbone.image_size:
            raise ConfigError(
                f"this {type(self).__name__} was made for {_times(size)} pixels, and its "
                f"{type(self.backbone).__name__} is for {_times(self.backbone.image_size)} now: "
                "make the method after the model is resized."
            )

    def classifier(self, backbone: Backbone) -> nn.Module | None:
        """backbone → None: the method learns no classes."""
        return None

    @property
    def cell(self) -> tuple[int, ...]:
        """Pixels along each axis that one patch of the output stands for."""
        return self.layout.cell


def _times(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))


def _probe_layout(backbone: Backbone, reads: str) -> Layout:
    """Runs one image through, and freezes the parameters that `reads` does not depend on."""
    was_training = backbone.training
    backbone.eval()
    like = next(backbone.parameters())
    image = like.new_zeros(1, backbone.channels, *backbone.image_size)
    with torch.enable_grad():
        embedded = backbone.embed(image)
        features = backbone.encode(embedded)
        pooled = backbone.pool(features)
        outputs = {
            "patches": (features.patches,),
            "tokens": (features.prefix, features.patches),
            "pooled": (pooled,),
            "all": (pooled, features.prefix, features.patches),
        }[reads]
        parameters = [p for p in backbone.parameters() if p.requires_grad]
        sums = [output.sum() for output in outputs]
        if not parameters:
            raise ConfigError(
                f"all weights of this {type(backbone).__name__} are frozen, and pretraining learns "
                "them: call model.requires_grad_()."
            )
        gradients = torch.autograd.grad(sums, parameters, allow_unused=True)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad = gradient is not None
    backbone.train(was_training)
    cell = tuple(s // g for s, g in zip(backbone.image_size, features.grid, strict=False))
    widths = embedded.patches.shape[-1], features.patches.shape[-1]
    return Layout(embedded.grid, widths[0], features.grid, widths[1], cell)
