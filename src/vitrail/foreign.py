"""Files that came along, such as a model's config or a recipe: read without trusting them.

Only regular files are read, whose size, nesting and expansion are bounded. JSON has no name twice,
YAML no tags, and a path that such a file names stays inside its folder.
"""

import functools
import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vitrail.errors import LoadError, VitrailError, describe_value

MAX_TEXT = 2**24  # bytes of a JSON file; the labels of 21,000 classes take 1 MB
MAX_SETTINGS = 2**18  # bytes of a YAML file
MAX_HEADER = 10**8  # bytes of the header of a .safetensors file, as its format says
NESTING = 64  # levels
EXPANDED = 20_000  # values of a YAML file, with those that aliases repeat
Schema = Any  # of `check_schema`: a type, types, [Schema], {name: Schema} or None
LINKS = "VITRAIL_FOLLOW_LINKS"  # environment variable: links may lead out of a folder


def read_text(file: str | Path, error: type[VitrailError], limit: int = MAX_TEXT) -> str:
    """The text of a regular file.

    Args:
        file: path of the file. A pipe or a device, which could hang, is refused.
        error: class of the error.
        limit: largest size in bytes.

    Returns:
        The content, which is UTF-8.

    Raises:
        FileNotFoundError: there is no such file.
        VitrailError: of the class `error`: it is no regular file, is too large, cannot be read, or
            is not UTF-8.

    Example:
        >>> read_text(os.devnull, LoadError)
        Traceback (most recent call last):
        vitrail.errors.LoadError: /dev/null is no regular file: give one.
    """
    try:
        status = os.stat(file)
        if not stat.S_ISREG(status.st_mode):
            raise error(f"{file} is no regular file: give one.")
        if status.st_size > limit:
            raise error(f"{file} has {status.st_size} bytes, and {limit} are the limit.")
        return Path(file).read_bytes().decode("utf-8")
    except (FileNotFoundError, error):
        raise
    except UnicodeDecodeError as problem:
        raise error(f"{file} cannot be read: it is not UTF-8 ({problem.reason}).") from None
    except OSError as problem:
        raise error(f"{file} cannot be read ({problem.strerror}).") from None
    except ValueError as problem:  # of a path with a zero byte
        raise error(f"{describe_value(str(file))} cannot be read ({problem}).") from None


def read_json(file: str | Path, error: type[VitrailError] = LoadError) -> Any:
    """The content of a JSON file.

    Args:
        file: path of the file.
        error: class of the error.

    Returns:
        Dictionaries, lists and plain values.

    Raises:
        FileNotFoundError: there is no such file.
        VitrailError: of the class `error`: it cannot be read, is no JSON, is nested too deeply, or
            has a name twice.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "config.json"
        >>> _ = file.write_text('{"dim": 8, "dim": 9}')
        >>> read_json(file)
        Traceback (most recent call last):
        vitrail.errors.LoadError: ...config.json cannot be read: it has the name 'dim' twice.
    """
    return parse_json(read_text(file, error), str(file), error)


def parse_json(text: str, source: str, error: type[VitrailError] = LoadError) -> Any:
    """The content of a JSON text.

    Args:
        text: the text.
        source: where it is from, for the error.
        error: class of the error.

    Returns:
        Dictionaries, lists and plain values.

    Raises:
        VitrailError: of the class `error`: it is no JSON, is nested too deeply, or has a name
            twice.

    Example:
        >>> parse_json('{"dim": [8]}', "config.json")
        {'dim': [8]}
    """
    try:
        value = json.loads(text, object_pairs_hook=_without_repeats)
        _check_nesting(value)
    except RecursionError:
        raise error(f"{source} cannot be read: it is nested too deeply.") from None
    except ValueError as problem:
        raise error(f"{source} cannot be read: {str(problem).rstrip('.')}.") from None
    return value


def check_schema(
    value: object, schema: Schema, source: str, error: type[VitrailError], where: str = ""
) -> None:
    """Checks that what a file holds has the types that its reader needs.

    Args:
        value: what was read.
        schema: a type or several, where float takes whole numbers too; [schema] for a list of any
            length; a dictionary of the schema of each entry, where "name?" may be missing and "*"
            stands for all other names; None for anything.
        source: where it is from, for the error.
        error: class of the error.
        where: path of the value in the file, for the error.

    Raises:
        VitrailError: of the class `error`: an entry is missing, is one too many, or is something
            else.

    Example:
        >>> check_schema({"step": 1.5}, {"step": int}, "metrics.jsonl", LoadError)
        Traceback (most recent call last):
        vitrail.errors.LoadError: metrics.jsonl: step is 1.5, and not of int.
    """
    if schema is None:
        return
    if isinstance(schema, dict) and isinstance(value, dict):
        needed = {name for name in schema if not name.endswith(("?", "*"))}
        if missing := needed - value.keys():
            raise error(f"{source} lacks {'.'.join(filter(None, (where, min(missing))))}.")
        for name, entry in value.items():
            path = f"{where}.{name}" if where else str(name)
            own = next((key for key in (name, f"{name}?", "*") if key in schema), None)
            if own is None:
                raise error(f"{source} has {describe_value(path)}, which Vitrail does not write.")
            check_schema(entry, schema[own], source, error, path)
        return
    if isinstance(schema, list) and isinstance(value, list):
        for number, entry in enumerate(value):
            check_schema(entry, schema[0], source, error, f"{where}.{number}")
        return
    types = schema if isinstance(schema, tuple) else (schema,)
    kinds = {type(kind) if isinstance(kind, dict | list) else kind for kind in types}
    is_number = float in kinds and isinstance(value, int)
    is_one = is_number or isinstance(value, tuple(kinds))
    if not (bool in kinds if isinstance(value, bool) else is_one):
        names = " or ".join(sorted("null" if k is type(None) else k.__name__ for k in kinds))
        raise error(f"{source}: {where or 'it'} is {describe_value(value)}, and not of {names}.")


def parse_yaml(text: str, source: str, error: type[VitrailError]) -> Any:
    """The content of a YAML text without tags.

    Args:
        text: the text.
        source: where it is from, for the error.
        error: class of the error.

    Returns:
        Dictionaries, lists and plain values.

    Raises:
        VitrailError: of the class `error`: it is no YAML, has a tag, a key twice, is nested too
            deeply, or repeats too much by aliases.

    Example:
        >>> from vitrail.errors import ConfigError
        >>> parse_yaml("optim: {lr: 0.1}", "recipe.yaml", ConfigError)
        {'optim': {'lr': 0.1}}
        >>> parse_yaml("!!python/object/apply:os.abort []", "recipe.yaml", ConfigError)
        Traceback (most recent call last):
        vitrail.errors.ConfigError: recipe.yaml is not YAML (a tag, 'tag:yaml.org,2002:python...
    """
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C, where libyaml is
    try:
        _check_events(yaml.parse(text, loader))
        _check_keys(yaml.parse(text, loader))
        return yaml.load(text, loader)
    # Values such as 2001-99-99 raise other errors than YAML's own.
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as problem:
        reason = " ".join(str(problem).split()) or type(problem).__name__
        raise error(f"{source} is not YAML ({reason}).") from None
    except (RecursionError, OverflowError) as problem:
        raise error(f"{source} is not YAML ({type(problem).__name__}).") from None


def inside(
    folder: Path,
    name: object,
    source: str,
    error: type[VitrailError],
    cure: str = "move it there",
) -> Path:
    """The path that a file names, which must lie in a folder.

    Args:
        folder: the folder.
        name: path relative to it, or absolute inside it.
        source: the file that names it, for the error.
        error: class of the error.
        cure: what to do about a path outside, for the error.

    Returns:
        The path, which need not exist.

    Raises:
        VitrailError: of the class `error`: it lies outside, by "..", by an absolute path or by a
            link. The environment variable VITRAIL_FOLLOW_LINKS=1 permits links.

    Example:
        >>> inside(Path("pets"), "cat/1.jpg", "metadata.jsonl", LoadError).as_posix()
        'pets/cat/1.jpg'
        >>> inside(Path("pets"), "../1.jpg", "metadata.jsonl", LoadError)
        Traceback (most recent call last):
        vitrail.errors.LoadError: metadata.jsonl names '../1.jpg', which is outside pets: move it...
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise error(f"{source} names {describe_value(name)}, which is no path of a file.")
    path = folder / (os.path.normpath(name) if ".." in Path(name).parts else name)
    if path == folder:
        raise error(f"{source} names {describe_value(name)}, which is no path of a file.")
    if ".." in path.parts or path.is_absolute():
        whole = Path(os.path.normpath(path.absolute()))
        if not whole.is_relative_to(os.path.normpath(folder.absolute())):
            raise error(
                f"{source} names {describe_value(name)}, which is outside {folder}: {cure}."
            )
    is_link = os.path.islink(path) and not _really_inside(str(folder), str(path))
    if (is_link or not _really_inside(str(folder), str(path.parent))) and not _follows_links():
        raise error(
            f"{source} names {describe_value(name)}, a link out of {folder}: set {LINKS}=1 if you "
            "trust it."
        )
    return path


def _follows_links() -> bool:
    return os.environ.get(LINKS) == "1"


@functools.lru_cache(4096)  # a table names many files of few folders
def _really_inside(folder: str, path: str) -> bool:
    """Whether a path lies in a folder when all links are followed."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def check_header(file: Path) -> int:
    """Checks the header of a .safetensors file before any tensor of it is read.

    Args:
        file: path of the file.

    Returns:
        Number of bytes of its tensors.

    Raises:
        LoadError: the header is longer than the file, is no JSON, or has a name twice; or a tensor
            has a negative size, or lies outside the file.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "model.safetensors"
        >>> _ = file.write_bytes((10**15).to_bytes(8, "little"))
        >>> check_header(file)
        Traceback (most recent call last):
        vitrail.errors.LoadError: ...model.safetensors is damaged: its header has 100000000000000...
    """
    if not file.is_file():
        raise LoadError(f"{file} is no regular file: give one.")
    size = file.stat().st_size - 8
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 0 < length <= min(size, MAX_HEADER):
            raise LoadError(f"{file} is damaged: its header has {length} bytes of {max(size, 0)}.")
        text = stream.read(length).decode("utf-8", "replace")
    header = parse_json(text, f"{file} is damaged: its header")
    if not isinstance(header, dict):
        raise LoadError(f"{file} is damaged: its header lists no tensors.")
    for name, tensor in header.items():
        if name != "__metadata__" and not _lies_in(tensor, size - length):
            raise LoadError(f"{file} is damaged: the tensor {describe_value(name)} is not in it.")
    return size - length


def _lies_in(tensor: object, size: int) -> bool:
    """Whether an entry of a header has a shape, and lies within bytes of data."""
    if not isinstance(tensor, dict):
        return False
    offsets: Any = tensor.get("data_offsets")
    if not _are_sizes(tensor.get("shape")) or not _are_sizes(offsets) or len(offsets) != 2:
        return False
    return bool(offsets[0] <= offsets[1] <= size)


def _are_sizes(value: object) -> bool:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _value in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it has the name {describe_value(repeated)} twice")
    return values


def _check_nesting(value: Any, level: int = 0) -> None:
    if level > NESTING:
        raise RecursionError
    if isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            if isinstance(entry, dict | list):
                _check_nesting(entry, level + 1)


def _check_events(events: Iterable[Any]) -> None:
    """Raises `ValueError` at what YAML expands or runs, before anything is built of it."""
    import yaml

    sizes: dict[str, int] = {}  # values under an anchor, with what aliases repeat
    opened: list[tuple[str | None, int]] = []  # anchor of each open collection, and where it began
    count = 0
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise ValueError(f"*{event.anchor} repeats what it is part of")
            count += sizes[event.anchor]
        elif isinstance(event, yaml.NodeEvent):
            tag = getattr(event, "tag", None)
            if tag is not None:
                raise ValueError(f"a tag, {describe_value(tag)}: settings are plain values")
            count += 1
            if isinstance(event, yaml.CollectionStartEvent):
                opened.append((event.anchor, count - 1))
            elif event.anchor is not None:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, start = opened.pop()
            if anchor is not None:
                sizes[anchor] = count - start
        if len(opened) > NESTING:
            raise ValueError(f"it is nested more than {NESTING} levels deep")
        if count > EXPANDED:
            raise ValueError(f"it has more than {EXPANDED} values, with those that aliases repeat")


def _check_keys(events: Iterable[Any]) -> None:
    """Raises `ValueError` at a key that a mapping has twice, of which YAML takes the last."""
    import yaml

    # Of each open collection its keys, None for a list, and the number of its nodes.
    opened: list[tuple[set[str] | None, list[None]]] = []
    for event in events:
        if isinstance(event, yaml.CollectionEndEvent):
            opened.pop()
        elif isinstance(event, yaml.NodeEvent):
            keys, nodes = opened[-1] if opened else (None, [])
            if keys is not None and len(nodes) % 2 == 0 and isinstance(event, yaml.ScalarEvent):
                if event.value in keys:
                    raise ValueError(f"it has {describe_value(event.value)} twice: write it once")
                keys.add(event.value)
            nodes.append(None)
            if isinstance(event, yaml.CollectionStartEvent):
                is_mapping = isinstance(event, yaml.MappingStartEvent)
                opened.append((set() if is_mapping else None, []))
