"""Errors. Each message is one line that names the value, the limit and the cure."""

import contextlib
import difflib
import numbers
from collections.abc import Iterable

from vitrail.other_names import name_here

# What a terminal obeys rather than prints, and what turns the direction of a line around.
CONTROLS = {
    **{code: f"\\x{code:02x}" for code in (*range(9), *range(11, 32), *range(127, 160))},
    **{code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))},
}


def printable(text: str) -> str:
    """A text in which what a terminal would obey is visible: names come from anywhere.

    Args:
        text: such as the name of a file or a class.

    Returns:
        The text with control characters as "\\x1b"; tabs and line breaks stay.

    Example:
        >>> print(printable("\\x1b[31mred"))
        \\x1b[31mred
    """
    return text.translate(CONTROLS)


class VitrailError(ValueError):
    """Base class of all errors about something that was given to Vitrail.

    The command line prints the message and exits with `exit_code`. A message is one line, whatever
    the values that it names print as.

    Args:
        message: the text; line breaks become spaces, and control characters are shown as "\\x1b".

    Example:
        >>> issubclass(VitrailError, ValueError), str(VitrailError("one\\ntwo"))
        (True, 'one two')
    """

    exit_code = 2

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(" ".join(line.strip() for line in str(message).splitlines())))


class ConfigError(VitrailError):
    """A keyword or a setting is unknown, out of range, or contradicts another.

    Example:
        >>> vitrail.create_model("vit_tiny")
        Traceback (most recent call last):
        vitrail.errors.ConfigError: no model 'vit_tiny'...
    """


class DataError(VitrailError):
    """Images or labels cannot be read or used.

    Example:
        >>> raise DataError("cat.jpg cannot be read: the file is empty.")
        Traceback (most recent call last):
        vitrail.errors.DataError: cat.jpg cannot be read: the file is empty.
    """


class LoadError(VitrailError):
    """Weights cannot be found, or do not fit the model.

    Example:
        >>> vitrail.load("nowhere")
        Traceback (most recent call last):
        vitrail.errors.LoadError: no folder 'nowhere'...
    """


class DamagedError(LoadError):
    """A file is not what was written: it is cut short, changed or missing.

    Example:
        >>> issubclass(DamagedError, LoadError)
        True
    """


class TierError(VitrailError):
    """A model cannot do what a method or a tool needs, such as dropping patches.

    Example:
        >>> issubclass(TierError, VitrailError)
        True
    """


class TrainingError(VitrailError):
    """Training cannot continue; the message says which checkpoint there is.

    Example:
        >>> issubclass(TrainingError, VitrailError)
        True
    """


class NotFiniteError(TrainingError):
    """A loss, a gradient or a weight is infinite or no number.

    Example:
        >>> issubclass(NotFiniteError, TrainingError)
        True
    """


class TrainingStopped(TrainingError):
    """SIGTERM or SIGHUP stopped training; the message says which checkpoint there is.

    Example:
        >>> TrainingStopped.exit_code
        143
    """

    exit_code = 143  # 128 + SIGTERM, which batch systems and containers expect


# Packages whose module has another name.
PACKAGES = {
    "PIL": "pillow", "cv2": "opencv-python-headless", "skimage": "scikit-image",
    "sklearn": "scikit-learn", "yaml": "pyyaml", "pillow_heif": "pillow-heif",
    "mlflow": "mlflow-skinny",
}  # fmt: skip


def how_to_install(*modules: str | None) -> str:
    """The command that installs packages.

    Args:
        modules: names of their modules, as in an `ImportError`'s `name`.

    Returns:
        The command.

    Example:
        >>> how_to_install("onnx", "PIL")
        'pip install onnx pillow'
    """
    names = [(module or "").partition(".")[0] for module in modules]
    return " ".join(["pip install", *(PACKAGES.get(name, name) for name in names)])


def describe_value(value: object) -> str:
    """A value, in one line of an error message.

    Args:
        value: any object.

    Returns:
        What Python prints for it; for what is long or takes several lines, its class and shape.

    Example:
        >>> describe_value("cat"), describe_value(list(range(100)))
        ("'cat'", '<list of 100>')
    """
    name = type(value).__name__
    with contextlib.suppress(Exception):  # whatever an object of the user's raises
        text = repr(value)
        if len(text) <= 100 and "\n" not in text:
            return text
        if isinstance(shape := getattr(value, "shape", None), tuple):
            return f"<{name} {tuple(shape)}>"
        return f"<{name} of {len(value)}>"  # type: ignore[arg-type]
    return f"<{name}>"


def suggest(name: str, choices: Iterable[str]) -> str:
    """A sentence that suggests what a name may mean.

    Args:
        name: the name that is unknown.
        choices: the names that exist.

    Returns:
        With a leading space, the choice that another library calls so, or the most similar one;
        "" if there is none.

    Example:
        >>> suggest("dropuot", ["dim", "dropout"])
        " Did you mean 'dropout'?"
    """
    names = list(choices)
    if here := name_here(name, names):
        return here
    same = [choice for choice in names if choice.casefold() == name.casefold()]
    last = name.rpartition(".")[2]  # lr of optim.lr
    elsewhere = [choice for choice in names if choice.rpartition(".")[2] == last]
    nearest = same or difflib.get_close_matches(name, elsewhere or names, n=1, cutoff=0.6)
    nearest = nearest or elsewhere
    return f" Did you mean {nearest[0]!r}?" if nearest else ""


def check_choice(keyword: str, value: str, choices: tuple[str, ...]) -> None:
    """Checks that a value is one of some choices.

    Args:
        keyword: name of the keyword or option, for the message.
        value: its value.
        choices: the values that it may have.

    Raises:
        ConfigError: the value is another.

    Example:
        >>> check_choice("pool", "clas", ("class", "mean"))
        Traceback (most recent call last):
        vitrail.errors.ConfigError: pool='clas' is not one of 'class', 'mean'. Did you mean 'class'?
    """
    if not isinstance(value, str | None) or value not in choices:
        raise ConfigError(
            f"{keyword}={describe_value(value)} is not one of {', '.join(map(repr, choices))}."
            f"{suggest(str(value), filter(None, choices))}"
        )


def check_range(keyword: str, value: float, low: float, high: float = float("inf")) -> None:
    """Checks that a value is a number within a range.

    Args:
        keyword: name of the keyword or option, for the message.
        value: its value.
        low: smallest value.
        high: largest value; infinity for no limit.

    Raises:
        ConfigError: the value is outside.

    Example:
        >>> check_range("k", 0, 1)
        Traceback (most recent call last):
        vitrail.errors.ConfigError: k=0 is not at least 1.
    """
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not low <= value <= high:
        limit = f"within {low:g} to {high:g}" if high < float("inf") else f"at least {low:g}"
        raise ConfigError(f"{keyword}={describe_value(value)} is not {limit}.")
