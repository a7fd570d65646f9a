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
TEAL = ((0.00, 0.18, 0.08), (0.00, 0.36, 0.24), (0.05, 0.54, 0.50), (0.30, 0.72, 0.75),
        (0.65, 0.88, 0.90), (0.95, 1.00, 1.00))  # fmt: skip

ScaleChoice = Literal["head", "layer", "shared"]


def _luminance(colors: np.ndarray) -> np.ndarray:
    """sRGB colors (..., 3) within 0..1 → relative luminance (...)."""
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    luminance: np.ndarray = linear @ (0.2126, 0.7152, 0.0722)
    return luminance


def _negative_colors() -> np.ndarray:
    """Colors (256, 3) from black to light teal, each as light as that of `COLORS`."""
    points = np.concatenate([COLORS[:1], MARGIN + (1 - 2 * MARGIN) * np.array(TEAL)])
    fine = np.linspace(0, len(points) - 1, 4096)
    ramp = np.stack([np.interp(fine, range(len(points)), band) for band in points.T], axis=-1)
    luminance = _luminance(ramp)
    return np.stack([np.interp(_luminance(COLORS), luminance, band) for band in ramp.T], axis=-1)


SIGNED_COLORS = np.concatenate([_negative_colors()[:0:-1], COLORS])  # of -1 to 1, 0 in the middle


class Scale(NamedTuple):
    """The weights at both ends of the colors.

    From 0 up, the higher weight is lighter. A scale that begins below 0 is signed: 0 is black, and
    both sides grow lighter alike, weights below 0 in green and teal.

    Args:
        low: the lowest weight.
        high: the highest weight.

    Example:
        >>> import numpy as np
        >>> Scale(0.0, 0.5).fraction(np.array([0.25]))
        array([0.5])
        >>> Scale(-1.0, 0.5).fraction(np.array([-1.0, 0.0, 0.5]))
        array([-1. ,  0. ,  0.5])
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

    @property
    def zero(self) -> float | None:
        """Where 0 lies along a signed scale, as a fraction of its length; else None."""
        return self.low / (self.low - self.high) if self.low < 0 <= self.high else None

    def fraction(self, weights: np.ndarray) -> np.ndarray:
        """Where weights lie on the colors.

        Args:
            weights: of any shape.

        Returns:
            Fractions of the same shape: 0 at `low`, 1 at `high`. On a signed scale 0 at 0, and -1
            or 1 at the end that is farther from it.

        Raises:
            ConfigError: a weight is outside the scale.
        """
        positions = (weights - self.low) / (self.high - self.low)
        if positions.size and not (positions.min() > -1e-4 and positions.max() < 1 + 1e-4):
            raise ConfigError(
                f"weights from {weights.min():.4g} to {weights.max():.4g} are not within the scale "
                f"from {self.low:.4g} to {self.high:.4g}: give a wider one."
            )
        if self.low < 0:
            return (weights / max(-self.low, self.high)).clip(-1, 1)
        return positions.clip(0, 1)

    def bar(self, steps: int) -> np.ndarray:
        """The colors from one end to the other.

        Args:
            steps: number of colors.

        Returns:
            Red, green and blue within 0..1, (steps, 3).
        """
        return glow(self.fraction(np.linspace(self.low, self.high, steps)))


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
    """The colors of a heat map: the farther from 0, the lighter.

    Args:
        fractions: within 0..1, or -1..1 of signed maps, of any shape.

    Returns:
        Red, green and blue within 0..1, of that shape and 3.

    Example:
        >>> import numpy as np
        >>> glow(np.array([0.0, 1.0])).mean(1).round(2).tolist()
        [0.11, 0.79]
    """
    steps = np.linspace(-1, 1, len(SIGNED_COLORS))
    return np.stack([np.interp(fractions, steps, channel) for channel in SIGNED_COLORS.T], axis=-1)


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
    steps = 1025
    distances = np.linalg.norm(colors[..., None, :] - Scale(low, high).bar(steps), axis=-1)
    return np.linspace(low, high, steps)[distances.argmin(-1)]
