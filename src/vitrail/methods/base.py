"""The contract of every training method."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError, TierError
from vitrail.models.base import Backbone, PyramidBackbone, SequenceBackbone


class Loss(NamedTuple):
    """What a method makes of a batch."""

    loss: Tensor  # (), to go downhill on
    metrics: dict[str, Tensor]  # (), to show


class Method(nn.Module):
    """Wraps a backbone and turns a batch into a loss. The backbone is what comes out.

    A method touches the contract of `Backbone` only, and names in `tier` whom it can train. Its
    constructor takes the backbone and plain keywords, which are its settings in a recipe; what is
    no plain value, such as a teacher, is annotated as a callable, and a recipe names it.
    """

    tier: tuple[type[Backbone], ...] = (Backbone,)
    # What a batch is: "one" view of each image, (B, C, *size); "crops", a list of several, the
    # global ones first; "text", one view of each and the tokens (B, L) of its caption as targets.
    views: Literal["one", "crops", "text"] = "one"
    labelled: bool = True  # whether it learns from labels
    passing: tuple[str, ...] = ()  # parts that serve training only, and are not kept with the rest

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        if not isinstance(backbone, self.tier):
            needed = " or ".join(tier.__name__ for tier in self.tier)
            raise TierError(
                f"{type(self).__name__} needs a {needed} model, and "
                f"{type(backbone).__name__} is none: choose another method or model."
            )
        self.backbone = backbone

    def forward(self, images: Any, targets: Tensor) -> Loss:
        """images float (B, C, *size), or as `views` says; targets (B,) labels, or (B, classes)
        where mixed."""
        raise NotImplementedError

    def before_step(self, progress: float) -> None:
        """Called before each step of the optimizer with the part of all steps that is done."""

    def after_step(self) -> None:
        """Called after every optimizer step, for what is not learned by gradient."""

    def result(self) -> Backbone:
        """The backbone to keep and to judge."""
        return self.backbone

    def classifier(self, backbone: Backbone) -> nn.Module | None:
        """images → logits of the labels that `backbone` knows; None: neighbours must judge it."""
        return backbone

    def reconstruct(self, images: Tensor) -> Tensor | None:
        """images (B, C, *size) → (3, B, C, *size): given, masked, rebuilt. None: it builds none."""
        return None


class Layout(NamedTuple):
    """What a backbone makes of an image of its own size."""

    embedded: tuple[int, ...]  # grid of the tokens that `embed` gives
    embedded_dim: int  # width of these tokens
    grid: tuple[int, ...]  # of the features; coarser in a pyramid
    dim: int  # width of the features' patches
    cell: tuple[int, ...]  # pixels that a place of `grid` stands for


class Pretraining(Method):
    """A method that needs no labels. The head goes, and what the loss cannot reach is frozen.

    `reads`: what of the backbone the loss sees; "tokens" are patches and prefix. Blocks that only
    summarise the patches, as CaiT's last ones do, learn nothing from a loss on patches; frozen,
    they are no riddle to an optimizer or to data-parallel training.
    """

    labelled = False
    reads: Literal["patches", "tokens", "pooled", "all"] = "patches"

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        backbone.reset_head(0)
        self.layout = _read(backbone, self.reads)

    def needs_whole_cells(self) -> None:
        """Raises `ConfigError` if places of the output grid stand for no whole pixels to hide."""
        size, grid = self.backbone.image_size, self.layout.grid
        if len(grid) != len(size) or any(s % g for s, g in zip(size, grid, strict=True)):
            raise ConfigError(
                f"{type(self).__name__} hides whole cells, and {_times(size)} pixels do not divide "
                f"into this {type(self.backbone).__name__}'s {_times(grid)}: change image_size."
            )

    def classifier(self, backbone: Backbone) -> nn.Module | None:
        """None: it knows no labels."""
        return None


class Masked(Pretraining):
    """A method that hides places of the grid and asks for them back."""

    tier: tuple[type[Backbone], ...] = (SequenceBackbone, PyramidBackbone)

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.needs_whole_cells()


def _times(sizes: tuple[int, ...]) -> str:
    return " x ".join(map(str, sizes))


def _read(backbone: Backbone, reads: str) -> Layout:
    """Sends an image through; freezes the parameters that what is read does not depend on."""
    was_training = backbone.training
    backbone.eval()
    like = next(backbone.parameters())
    image = like.new_zeros(1, backbone.channels, *backbone.image_size)
    with torch.enable_grad():
        embedded = backbone.embed(image)
        features = backbone.encode(embedded)
        pooled = backbone.pool(features)
        seen = {
            "patches": (features.patches,),
            "tokens": (features.prefix, features.patches),
            "pooled": (pooled,),
            "all": (pooled, features.prefix, features.patches),
        }[reads]
        parameters = [p for p in backbone.parameters() if p.requires_grad]
        slopes = torch.autograd.grad([x.sum() for x in seen], parameters, allow_unused=True)
    for parameter, slope in zip(parameters, slopes, strict=True):
        parameter.requires_grad = slope is not None
    backbone.train(was_training)
    cell = tuple(s // g for s, g in zip(backbone.image_size, features.grid, strict=False))
    widths = embedded.patches.shape[-1], features.patches.shape[-1]
    return Layout(embedded.grid, widths[0], features.grid, widths[1], cell)
