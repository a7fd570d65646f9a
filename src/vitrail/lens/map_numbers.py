"""What a heat map says in numbers: its largest weight, its entropy, the share of its top patch."""

import math
from typing import Annotated, NamedTuple

from torch import Tensor

from vitrail.arguments import Axes, checked
from vitrail.messages import _


class MapNumbers(NamedTuple):
    """A heat map in numbers.

    Args:
        lowest: the smallest weight.
        largest: the largest weight.
        top_share: the largest weight as a fraction of the sum over the patches.
        entropy: entropy of the weights in bits, after they are divided by their sum: log2 of the
            number of patches for equal weights, 0 where all weight is on one patch.
        patches: number of patches.

    Example:
        >>> map_numbers(torch.full((2, 2), 0.1)).entropy
        2.0
    """

    lowest: float
    largest: float
    top_share: float
    entropy: float
    patches: int

    @property
    def lines(self) -> tuple[str, str]:
        """Two short lines of text, to stand below a picture."""
        if self.lowest < 0:
            text = _("from {lowest:.3g} to {largest:.3g}; 0 is black")
            return text.format(lowest=self.lowest, largest=self.largest), ""
        if self.largest == 0:
            return _("all weights are 0"), ""
        top = _("largest {largest:.3g}, {share:.1%} of all")
        entropy = _("entropy {entropy:.2f} of {limit:.2f} bits")
        return (
            top.format(largest=self.largest, share=self.top_share),
            entropy.format(entropy=self.entropy, limit=math.log2(self.patches)),
        )


@checked
def map_numbers(weights: Annotated[Tensor, Axes(1, 2, 3)]) -> MapNumbers:
    """A heat map in numbers.

    Args:
        weights: of one to three axes, one per patch. Of maps with negative weights only the range
            is a number; share and entropy are NaN.

    Returns:
        The numbers.

    Example:
        >>> numbers = map_numbers(torch.tensor([0.1, 0.3]))
        >>> round(numbers.largest, 2), round(numbers.top_share, 2), round(numbers.entropy, 2)
        (0.3, 0.75, 0.81)
    """
    values = weights.detach().double().flatten()
    lowest, largest, total = values.min().item(), values.max().item(), values.sum().item()
    share = entropy = math.nan
    if lowest >= 0 and total > 0:
        probs = values / total
        share, entropy = largest / total, -probs.xlogy(probs).sum().item() / math.log(2)
    return MapNumbers(lowest, largest, share, entropy + 0.0, values.numel())
