"""Models that Vitrail did not write: a download, a config with weights, or a file of weights."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from vitrail.errors import LoadError
from vitrail.hub.converters import Config, from_timm, from_transformers, vision_mamba
from vitrail.hub.model_folder import CONFIG, read_file
from vitrail.hub.rename import Tensors
from vitrail.models.base import Backbone


def download(name: str, patterns: Sequence[str] = ("*.json", "*.safetensors")) -> Path:
    """Downloads a repository of the Hugging Face Hub.

    Args:
        name: its id, organization/name.
        patterns: shell patterns of the files to download.

    Returns:
        The local folder.

    Raises:
        LoadError: the repository does not exist or cannot be reached.

    Example:
        >>> download("no/such/name")
        Traceback (most recent call last):
        vitrail.errors.LoadError: 'no/such/name' cannot be downloaded from the Hub: ...
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except LocalEntryNotFoundError:
        raise LoadError(
            f"{name!r} cannot be downloaded from the Hub, which does not answer: where it does, "
            f'`hf download {name} --local-dir FOLDER` works, and vitrail.load("FOLDER") reads that.'
        ) from None
    except (HfHubHTTPError, HFValidationError, OSError) as problem:
        raise LoadError(
            f"{name!r} cannot be downloaded from the Hub: {_first_line(problem)}"
        ) from None


def from_config(config: Config, tensors: Tensors, folder: Path) -> Backbone:
    """Builds a model from a config and weights of timm or transformers.

    Args:
        config: content of config.json.
        tensors: weights by the library's names.
        folder: where both are from.

    Returns:
        The model, with its preprocessing, labels and origin.

    Raises:
        LoadError: the config is of neither library, or what it describes is not supported.

    Example:
        >>> from_config({"model_type": "bert"}, {}, Path("bert"))
        Traceback (most recent call last):
        vitrail.errors.LoadError: bert/config.json is neither Vitrail's, nor timm's, nor of ...
    """
    for library in (from_transformers, from_timm):
        if library.recognizes(config):
            model = library.convert(config, tensors, folder)
            model.origin = f"{library.NAME} weights of {folder.name}"
            return model
    raise LoadError(
        f"{folder / CONFIG} is neither Vitrail's, nor timm's, nor of an architecture of "
        f"transformers that is supported: model_type={config.get('model_type')!r}."
    )


def read_checkpoint(file: Path) -> Backbone:
    """Reads a file of weights without a config: one of the published Vision Mambas.

    Args:
        file: a .safetensors, .bin, .pth or .pt file.

    Returns:
        The model.

    Raises:
        LoadError: the file is missing, cannot be read safely, or is of another network.

    Example:
        >>> read_checkpoint(Path("vim.pth"))
        Traceback (most recent call last):
        vitrail.errors.LoadError: no file 'vim.pth'.
    """
    if not file.is_file():
        raise LoadError(f"no file {str(file)!r}.")
    tensors = read_tensors(file)
    if not vision_mamba.recognizes(tensors):
        raise LoadError(
            f"{file} has no config beside it, and its weights are not a published Vision Mamba's: "
            "give the folder that holds its config.json."
        )
    model = vision_mamba.convert(tensors)
    model.origin = f"{vision_mamba.NAME} weights of {file.name}"
    return model


def read_tensors(file: Path) -> Tensors:
    """Reads a .safetensors file, or a pickle that holds nothing but data.

    Args:
        file: path of the file.

    Returns:
        Tensors by name.

    Raises:
        LoadError: the file is damaged, or holds code or no tensors.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "x.pth"
        >>> torch.save({"model": {"x": torch.ones(2)}}, file)
        >>> read_tensors(file)
        {'x': tensor([1., 1.])}
    """
    if file.suffix == ".safetensors":
        return read_file(file)
    try:
        # Training scripts keep their command line beside the weights; a Namespace is only data.
        with torch.serialization.safe_globals([argparse.Namespace]):
            tensors = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as problem:  # torch raises several kinds for what it refuses
        raise LoadError(f"{file} cannot be read safely: {_first_line(problem)}") from None
    for key in ("state_dict", "model"):
        tensors = tensors.get(key, tensors) if isinstance(tensors, dict) else tensors
    if not isinstance(tensors, dict):
        raise LoadError(f"{file} holds no weights by name.")
    return tensors


def _first_line(problem: Exception) -> str:
    return str(problem).strip().splitlines()[0]
