"""Errors that name the value, the limit and the cure, in one line."""

import difflib
from collections.abc import Iterable


class VitrailError(ValueError):
    """Something Vitrail was given cannot work. The command line prints it and exits with 2."""


class ConfigError(VitrailError):
    """A setting is unknown, out of range or contradicts another."""


class DataError(VitrailError):
    """Images, labels or a source of them cannot be used."""


class LoadError(VitrailError):
    """Weights cannot be found or do not fit."""


class TierError(VitrailError):
    """A method asks of a model what its tier cannot give."""


class TrainingError(VitrailError):
    """Training cannot go on; the message says what was kept."""


def suggest(name: str, choices: Iterable[str]) -> str:
    """ " Did you mean 'x'?" for the choice nearest to `name`, or "" where none is near."""
    nearest = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


def check_choice(keyword: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises `ConfigError` unless `value` is among the choices."""
    if value not in choices:
        raise ConfigError(
            f"{keyword}={value!r} is not one of {', '.join(map(repr, choices))}."
            f"{suggest(str(value), choices)}"
        )


def check_range(keyword: str, value: float, low: float, high: float = float("inf")) -> None:
    """Raises `ConfigError` unless `value` is a number within low to high, both included."""
    if isinstance(value, bool) or not low <= value <= high:
        limit = f"within {low:g} to {high:g}" if high < float("inf") else f"at least {low:g}"
        raise ConfigError(f"{keyword}={value!r} is not {limit}.")
