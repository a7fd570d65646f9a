"""How far an accuracy may be off, because it was measured on few images."""

import math

Z = 1.959964  # 95 % of a normal distribution lie within so many standard deviations


def wilson(right: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a fraction (Wilson 1927): where it would lie on endless images.

    Args:
        right: number of images that are recognized.
        count: number of images.

    Returns:
        Lowest and highest fraction; 0 and 1 without images.

    Example:
        >>> [round(limit, 3) for limit in wilson(90, 100)]
        [0.826, 0.945]
    """
    if count == 0:
        return 0.0, 1.0
    fraction = right / count
    center = fraction + Z**2 / (2 * count)
    spread = Z * math.sqrt(fraction * (1 - fraction) / count + Z**2 / (4 * count**2))
    scale = 1 + Z**2 / count
    return max((center - spread) / scale, 0.0), min((center + spread) / scale, 1.0)


def interval_text(low: float, high: float) -> str:
    """An interval in percent.

    Args:
        low: lowest fraction.
        high: highest fraction.

    Returns:
        Text.

    Example:
        >>> interval_text(*wilson(90, 100))
        '82.6-94.5 %'
    """
    return f"{100 * low:.1f}-{100 * high:.1f} %"
