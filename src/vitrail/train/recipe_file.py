"""Settings as a recipe and a command line give them: nested values, which are not checked yet.

Nothing here takes torch, so that a wrong name of a model is said at once.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vitrail.errors import ConfigError, describe_value
from vitrail.foreign import MAX_SETTINGS, parse_yaml, read_text

MAX_BASES = 16  # recipes one of which is the base of the next


def read_recipe(path: Path, readers: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The settings of a file and of its bases.

    Args:
        path: a YAML file.
        readers: the files whose base it is.

    Returns:
        Nested values, which are not checked.

    Raises:
        ConfigError: a file cannot be read, is no YAML, or a base is where it must not be.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "recipe.yaml"
        >>> path.write_text("optim: {lr: 0.1}")
        16
        >>> read_recipe(path)
        {'optim': {'lr': 0.1}}
    """
    if path.resolve() in readers:
        raise ConfigError(
            f"{readers[0]}: base leads back to {path}, which is this file itself or "
            "has it as its base."
        )
    if len(readers) > MAX_BASES:
        raise ConfigError(f"{readers[0]}: base leads through more than {MAX_BASES} files.")
    try:
        text = read_text(path, ConfigError, MAX_SETTINGS)
    except FileNotFoundError as problem:
        raise ConfigError(f"{path}: cannot be read ({problem.strerror}).") from None
    values = parse_yaml(text, str(path), ConfigError) or {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no settings; it begins like 'model: {{name: ...}}'.")
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str) or "\0" in base:
        raise ConfigError(f"{path}: base={describe_value(base)} is no path of a file.")
    readers = (*readers, path.resolve())
    target, tree = (path.parent / base).resolve(), readers[0].parent
    if not target.is_relative_to(tree) and target.parent != tree.parent:
        raise ConfigError(
            f"{path}: base={base!r} is neither in the recipe's folder, {tree}, nor directly above "
            "it: copy it there."
        )
    return merged(_for_method(read_recipe(path.parent / base, readers), values), values)


def _for_method(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """The settings of a base without those of its method that another method does not have."""
    old, new = base.get("method"), values.get("method")
    if not isinstance(old, dict) or not isinstance(new, dict):
        return base
    name = new.get("name", old.get("name"))
    if name == old.get("name"):
        return base
    from vitrail.methods.registry import list_methods, settings_of  # which take torch

    names = settings_of(name) if name in list_methods() else old
    return {**base, "method": {key: value for key, value in old.items() if key in names}}


def merged(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Nested values, with those of another where they have none.

    Args:
        base: nested dictionaries.
        values: others, which win.

    Returns:
        A new dictionary.

    Example:
        >>> merged({"optim": {"lr": 0.1, "clip": 1}}, {"optim": {"lr": 0.2}})
        {'optim': {'lr': 0.2, 'clip': 1}}
    """
    result = dict(base)
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        result[key] = merged(base[key], value) if both else value
    return result


def overridden(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Nested values, some of which are replaced.

    Args:
        values: nested dictionaries.
        overrides: such as "optim.lr=3e-4".

    Returns:
        A new dictionary.

    Raises:
        ConfigError: an override is none.

    Example:
        >>> overridden({"optim": {"lr": 0.1}}, ["optim.lr=3e-4", "optim.clip=2"])
        {'optim': {'lr': 0.0003, 'clip': 2}}
    """
    result = dict(values)
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"override {override!r} has no '=': write it like optim.lr=0.001.")
        *parents, last = path.split(".")
        section = result
        for parent in parents:
            inner = section.get(parent)
            # A copy, so that the caller's stays as it is.
            section[parent] = dict(inner) if isinstance(inner, Mapping) else {}
            section = section[parent]
        section[last] = read_value(text)
    return result


def read_value(text: str) -> Any:
    """The value of a setting.

    Args:
        text: the value as YAML, where 1e-3 is a number too.

    Returns:
        A value.

    Raises:
        ConfigError: the text is no YAML.

    Example:
        >>> read_value("1e-3"), read_value("[1, 2]")
        (0.001, [1, 2])
    """
    value = parse_yaml(text, describe_value(text), ConfigError)
    return _read_numbers(value, text)


def _read_numbers(value: Any, text: str) -> Any:
    """Turns what YAML takes for text, such as 1e-3, into numbers, but not what is quoted."""
    if isinstance(value, list):
        return [_read_numbers(entry, text) for entry in value]
    if isinstance(value, dict):
        for key, entry in value.items():
            if entry is None and ":" in str(key):
                raise ConfigError(
                    f"{key!r} in {text!r} has no value: put a space after its colon, as "
                    f"{key.replace(':', ': ', 1)!r}."
                )
        return {key: _read_numbers(entry, text) for key, entry in value.items()}
    if isinstance(value, str) and not any(f"{q}{value}{q}" in text for q in "'\""):
        try:
            return float(value)
        except ValueError:
            return value
    return value
