"""What the constructors of pyramids share."""

from collections.abc import Sized

from vitrail.errors import ConfigError, describe_value
from vitrail.ops.guard import guarded


@guarded
def check_stages(**settings: Sized) -> None:
    """Checks that settings have one entry per stage.

    Args:
        settings: tuples by the name of the keyword, such as `dim=(64, 128)`.

    Raises:
        ConfigError: the tuples are empty, or of different lengths.

    Example:
        >>> check_stages(dim=(8, 16), depth=(2,))
        Traceback (most recent call last):
        vitrail.errors.ConfigError: dim has 2 entries, depth has 1: give all one entry per stage.
    """
    for name, entries in settings.items():
        if not isinstance(entries, Sized):
            raise ConfigError(f"{name}={describe_value(entries)} is not one entry per stage.")
    lengths = {name: len(entries) for name, entries in settings.items()}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        counts = [f"{name} has {length}" for name, length in lengths.items()]
        counts[0] += " entries"
        raise ConfigError(f"{', '.join(counts)}: give all one entry per stage.")
