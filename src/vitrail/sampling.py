"""How parts are sampled from videos, volumes and signals. It is saved with every model."""

import dataclasses

from vitrail.arguments import check_fields, checked_names
from vitrail.errors import ConfigError, check_range


@checked_names
@dataclasses.dataclass(frozen=True)
class Sampling:
    """How parts of the model's size are sampled from videos, volumes and signals.

    Args:
        stride: step from a frame, voxel or value of a part to the next. Training takes the part
            from a random position. null spreads it over the whole: frames at equal distances, of
            which training takes a random one of each interval; volumes and signals are resampled.
        parts: number of parts whose predictions are averaged in evaluation; of volumes the number
            along each axis.
        window: the values of volumes and signals that are clipped to, such as [-1000, 400]
            Hounsfield units; null for no clipping.

    Raises:
        ConfigError: a value is out of range.

    Example:
        >>> Sampling(stride=2, parts=3).window is None
        True
    """

    stride: int | None = None
    parts: int = 1
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        check_range("stride", 1 if self.stride is None else self.stride, 1)
        check_range("parts", self.parts, 1)
        if self.window is not None and not self.window[0] < self.window[1]:
            raise ConfigError(f"window={self.window} is no range: give (lowest, highest).")
