"""The scale and the colors of heat maps, from which a weight can be read back."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from matplotlib import colormaps
from torch import Tensor

from vitrail.arguments import checked
from vitrail.errors import ConfigError, check_choice

# Perceptually uniform, and told apart by the color-blind. It is squeezed into the middle of each
# channel, so that the details of an image can make any color a little darker or lighter.
MARGIN = 0.11
COLORS = MARGIN + (1 - 2 * MARGIN) * colormaps["inferno"](np.arange(256))[:, :3]

ScaleChoice = Literal["head", "layer", "shared"]


class Scale(NamedTuple):
    """The weights at the dark and at the bright end of the colors.

    Args:
        low: weight that is darkest.
        high: weight that is brightest.

    Example:
        >>> import numpy as np
        >>> Scale(0.0, 0.5).fraction(np.array([0.25]))
        array([0.5])
    """

    low: float
    high: float

    @classmethod
    def of(cls, *maps: Tensor) -> "Scale":
        """The scale on which some maps are drawn: from 0, or the lowest weight, to the highest.

        Args:
            *maps: weights of any shapes.

        Returns:
            The scale. It ends where the weights do, and cuts none of them off.

        Raises:
            ConfigError: a weight is not finite.
        """
        ends = [end.item() for weights in maps for end in weights.detach().float().aminmax()]
        if not np.isfinite(ends).all():
            raise ConfigError("a heat map with NaN or infinite weights has no scale: leave it out.")
        low, high = min(0.0, *ends), max(0.0, *ends)
        return cls(low, high if high > low else low + 1.0)

    def fraction(self, weights: np.ndarray) -> np.ndarray:
        """Where weights lie on the scale.

        Args:
            weights: of any shape.

        Returns:
            Fractions of the same shape: 0 at `low`, 1 at `high`.

        Raises:
            ConfigError: a weight is outside the scale.
        """
        fractions = (weights - self.low) / (self.high - self.low)
        if fractions.size and not (fractions.min() > -1e-4 and fractions.max() < 1 + 1e-4):
            raise ConfigError(
                f"weights from {weights.min():.4g} to {weights.max():.4g} are not within the scale "
                f"from {self.low:.4g} to {self.high:.4g}: give a wider one."
            )
        return fractions.clip(0, 1)


def shared_scales(layers: Sequence[Tensor], choice: ScaleChoice) -> list[Scale | None]:
    """The scale of the maps of each layer.

    Args:
        layers: maps of each layer, of any shapes.
        choice: "head" for a scale of its own for each map, "layer" for one per layer, "shared" for
            one of all.

    Returns:
        A scale per layer; None where each map has its own.

    Raises:
        ConfigError: a weight is not finite, or there is no such choice.

    Example:
        >>> shared_scales([torch.ones(2), torch.zeros(2)], "shared")
        [Scale(low=0.0, high=1.0), Scale(low=0.0, high=1.0)]
    """
    check_choice("scale", choice, ("head", "layer", "shared"))
    if choice == "head":
        return [None] * len(layers)
    if choice == "layer":
        return [Scale.of(maps) for maps in layers]
    return [Scale.of(*layers)] * len(layers)


def glow(fractions: np.ndarray) -> np.ndarray:
    """The colors of a heat map: the higher, the lighter.

    Args:
        fractions: within 0..1, of any shape.

    Returns:
        Red, green and blue within 0..1, of that shape and 3.

    Example:
        >>> import numpy as np
        >>> glow(np.array([0.0, 1.0])).mean(1).round(2).tolist()
        [0.11, 0.79]
    """
    steps = np.linspace(0, 1, len(COLORS))
    return np.stack([np.interp(fractions, steps, channel) for channel in COLORS.T], axis=-1)


@checked
def read_colors(colors: np.ndarray, scale: Scale | tuple[float, float]) -> np.ndarray:
    """The weights that colors stand for, the inverse of a heat map.

    Args:
        colors: (..., 3) within 0..1, such as the mean color of each patch of a heat map that is
            drawn in cells.
        scale: the numbers at the ends of its color bar.

    Returns:
        Weights (...).

    Raises:
        ConfigError: the last axis is not red, green and blue.

    Example:
        >>> import numpy as np
        >>> read_colors(glow(np.array([0.3])), Scale(0.0, 2.0)).round(2)
        array([0.6])
    """
    if colors.ndim == 0 or colors.shape[-1] != 3 or colors.dtype.kind not in "fui":
        raise ConfigError(
            f"colors of shape {colors.shape} and type {colors.dtype} are no red, green and blue "
            "within 0..1: give (..., 3) floats."
        )
    low, high = scale
    fractions = np.linspace(0, 1, 1025)
    distances = np.linalg.norm(colors[..., None, :] - glow(fractions), axis=-1)
    return np.asarray(low + (high - low) * fractions[distances.argmin(-1)])
