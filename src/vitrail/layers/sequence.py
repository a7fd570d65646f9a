"""Augmentation of token sequences in training."""

import random

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.ops.guard import guarded, guarded_forward


class SequenceAugment(nn.Module):
    """Random orders of a sequence in training: flips, shuffles, a random slot of the class token.

    It draws one order per batch, from the generators that the official Vision Mamba draws from and
    in its order: the slot, the shuffle, the flip. Without `generator` those are Python's for slots
    and probabilities, and PyTorch's for the shuffled order. In evaluation nothing changes.

    Args:
        flip: probability that the whole sequence is reversed.
        shuffle: probability that the whole sequence is shuffled.
        class_token: whether the prefix tokens stand together at a random slot.

    Attributes:
        generator: source of all draws; None for those above.

    Raises:
        ConfigError: `flip` or `shuffle` is no probability.

    Example:
        >>> augment = SequenceAugment(flip=1.0)
        >>> augment(torch.arange(4), prefix=1).tolist()
        [3, 2, 1, 0]
        >>> augment.eval()(torch.arange(4), prefix=1).tolist()
        [0, 1, 2, 3]
    """

    @guarded
    def __init__(
        self, flip: float = 0.0, shuffle: float = 0.0, *, class_token: bool = False
    ) -> None:
        super().__init__()
        for name, value in (("flip", flip), ("shuffle", shuffle)):
            if not 0 <= value <= 1:
                raise ConfigError(f"{name}={value} is no probability: give a number from 0 to 1.")
        self.flip, self.shuffle, self.class_token = flip, shuffle, class_token
        self.generator: torch.Generator | None = None

    @guarded_forward
    def forward(self, order: Tensor, prefix: int) -> Tensor:
        """Draws an order.

        Args:
            order: (L,), indices into [prefix tokens, patches].
            prefix: number of prefix tokens.

        Returns:
            (L,), `order` itself in evaluation.
        """
        if not self.training:
            return order
        if self.class_token and prefix:
            first, patches = order[order < prefix], order[order >= prefix]
            slot = self.draw_slot(len(patches))
            order = torch.cat([patches[:slot], first, patches[slot:]])
        if self.shuffle and (self.shuffle == 1 or self._uniform() < self.shuffle):
            order = order[torch.randperm(len(order), generator=self.generator)]
        if self.flip and self._uniform() < self.flip:
            order = order.flip(0)
        return order

    def draw_slot(self, patches: int) -> int:
        """Draws the slot of the class token.

        Args:
            patches: number of patches N.

        Returns:
            The number of patches before it, 0 to N in training, 0 in evaluation.
        """
        if not self.training:
            return 0
        if self.generator is None:
            return random.randint(0, patches)
        return int(torch.randint(patches + 1, (), generator=self.generator))

    def extra_repr(self) -> str:
        """Shows the settings in the model's printout."""
        return f"flip={self.flip:g}, shuffle={self.shuffle:g}, class_token={self.class_token}"

    def _uniform(self) -> float:
        if self.generator is None:
            return random.random()
        return float(torch.rand((), generator=self.generator))
