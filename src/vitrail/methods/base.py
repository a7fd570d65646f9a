"""The contract of every training method."""

from typing import NamedTuple

from torch import Tensor, nn

from vitrail.errors import TierError
from vitrail.models.base import Backbone


class Loss(NamedTuple):
    """What a method makes of a batch."""

    loss: Tensor  # (), to go downhill on
    metrics: dict[str, Tensor]  # (), to show


class Method(nn.Module):
    """Wraps a backbone and turns a batch into a loss. The backbone is what comes out.

    A method touches the contract of `Backbone` only, and names in `tier` the least it needs.
    """

    tier: type[Backbone] = Backbone

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        if not isinstance(backbone, self.tier):
            raise TierError(
                f"{type(self).__name__} needs a {self.tier.__name__} model, and "
                f"{type(backbone).__name__} is none: choose another method or model."
            )
        self.backbone = backbone

    def forward(self, images: Tensor, targets: Tensor) -> Loss:
        """images float (B, C, H, W); targets (B,) labels, or (B, classes) where mixed."""
        raise NotImplementedError

    def after_step(self) -> None:
        """Called after every optimizer step, for what is not learned by gradient."""
