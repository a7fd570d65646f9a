"""Rewriting a model of another library, pickled or not, as a folder of Vitrail."""

from pathlib import Path

from vitrail.arguments import checked
from vitrail.errors import ConfigError
from vitrail.hub import model_folder
from vitrail.hub.load import find_folder, load
from vitrail.hub.model_folder import PICKLES
from vitrail.hub.other_libraries import download, from_config, read_checkpoint, read_folder
from vitrail.manifest import trusting
from vitrail.models.base import Backbone


@checked
def convert(
    source: str | Path,
    destination: str | Path,
    *,
    architecture: str | None = None,
    trust: bool = False,
) -> Path:
    """Rewrites a model as a folder of Vitrail.

    Args:
        source: what `load` takes, or a folder or Hub id with a pickle (.bin, .pth) in place of
            safetensors. A pickle that holds anything but data is refused.
        destination: path of a new folder.
        architecture: architecture of weights without a config, as for `load`.
        trust: whether to read files that are not as they were written, as for `load`.

    Returns:
        The folder.

    Raises:
        ConfigError: `destination` exists.
        LoadError: the model cannot be found or read.

    Example:
        >>> convert("vit.pth", ".")
        Traceback (most recent call last):
        vitrail.errors.ConfigError: . exists: choose a new folder.
    """
    destination = Path(destination)
    if destination.exists():
        raise ConfigError(f"{destination} exists: choose a new folder.")
    with trusting(trust):
        model = read_any(source, architecture)
    return model_folder.save(model, destination)


def read_any(source: str | Path, architecture: str | None = None) -> Backbone:
    """The model of what `load` takes, or of a pickle that holds nothing but data.

    Args:
        source: what `load` takes, or a folder or Hub id with a pickle (.bin, .pth) in place of
            safetensors.
        architecture: architecture of weights without a config, as for `load`.

    Returns:
        The model.

    Raises:
        LoadError: the model cannot be found or read.

    Example:
        >>> read_any("vit.pth")
        Traceback (most recent call last):
        vitrail.errors.LoadError: no file 'vit.pth'.
    """
    path = Path(source).expanduser()
    if architecture is not None or path.suffix in (*PICKLES, ".safetensors"):
        return load(path, architecture=architecture)
    folder = path if path.is_dir() else find_folder(source)
    pickles, safe = _files(folder, PICKLES), _files(folder, (".safetensors",))
    if not path.is_dir() and not pickles and not safe:
        folder = download(str(source), ("*.json", *(f"*{suffix}" for suffix in PICKLES)))
        pickles = _files(folder, PICKLES)
    if safe or not pickles:
        return load(folder)
    if not (folder / model_folder.CONFIG).is_file():
        return read_checkpoint(folder)
    return from_config(model_folder.read_model_config(folder), read_folder(folder), folder)


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    # There is no folder where a download found no file.
    return sorted(file for file in folder.glob("*") if file.suffix in suffixes)
