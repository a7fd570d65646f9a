"""Models that Vitrail did not write: a download, a config with weights, or a file of weights."""

import argparse
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from vitrail.errors import LoadError
from vitrail.hub.converters import Config, from_timm, from_transformers, of_timm, vision_mamba
from vitrail.hub.fitting import reading
from vitrail.hub.model_folder import CONFIG, PICKLES, WEIGHTS, load_weights, read_file, shards
from vitrail.hub.rename import Tensors, strip_prefixes, strip_shared_prefixes
from vitrail.hub.torchscript import is_torchscript, read_torchscript
from vitrail.layers.patch import to_tuple
from vitrail.models.base import Backbone
from vitrail.models.registry import new_model, variants
from vitrail.preprocess import Preprocess

PICKLED = "pytorch_model.bin"
# Entries under which training scripts keep the weights of a model beside other things, EMA first.
NESTED = (
    "state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model_state", "model",
    "teacher", "student",
)  # fmt: skip


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
    with reading(folder / CONFIG):
        for library in (from_transformers, from_timm):
            if library.recognizes(config):
                model = library.convert(config, strip_prefixes(tensors), folder)
                model.origin = f"{library.NAME} weights of {folder.name}"
                return model
    raise LoadError(
        f"{folder / CONFIG} is neither Vitrail's, nor timm's, nor of an architecture of "
        f"transformers that is supported: model_type={config.get('model_type')!r}."
    )


def read_checkpoint(source: Path, architecture: str | None = None) -> Backbone:
    """Reads weights without a config: of a named architecture, a Vision Mamba or OpenAI's CLIP.

    Args:
        source: a .safetensors, .bin, .pth or .pt file, or a folder with such files.
        architecture: the architecture, by its name here or in timm; None for a Vision Mamba or
            OpenAI's CLIP, which are known by their names of weights.

    Returns:
        The model.

    Raises:
        LoadError: the file is missing, cannot be read safely, or is of another network.

    Example:
        >>> read_checkpoint(Path("vim.pth"))
        Traceback (most recent call last):
        vitrail.errors.LoadError: no file 'vim.pth'.
    """
    from vitrail.hub.converters import openai_clip  # it reads tokenizers, by what imports this

    if not source.exists():
        raise LoadError(f"no file {str(source)!r}.")
    tensors = read_folder(source) if source.is_dir() else read_tensors(source)
    tensors = strip_shared_prefixes(tensors)
    if vision_mamba.recognizes(tensors):
        model = vision_mamba.convert(tensors)
        model.origin = f"{vision_mamba.NAME} weights of {source.name}"
        return model
    if architecture is None and openai_clip.recognizes(tensors):
        model = openai_clip.convert(tensors, source)
        model.origin = f"{openai_clip.NAME} weights of {source.name}"
        return model
    if architecture is None:
        raise LoadError(
            f"{source} has no config beside it, and its weights are not a published Vision "
            'Mamba\'s: name the architecture, load(FILE, architecture="vit_small_patch16_224") in '
            "Python, `vitrail convert FILE FOLDER --as vit_small_patch16_224` on the command line."
        )
    model = from_state_dict(tensors, architecture, source)
    model.origin = f"{architecture} weights of {source.name}"
    return model


def from_state_dict(tensors: Tensors, architecture: str, source: Path) -> Backbone:
    """Builds a named architecture with the weights of a state dict.

    Args:
        tensors: weights by the names of Vitrail, or of timm and the authors that it took them from.
        architecture: the architecture, by its name here or in timm.
        source: the file, for errors.

    Returns:
        The model, with the preprocessing of an untrained one and no labels.

    Raises:
        LoadError: there is no such architecture, or the weights do not fit it.

    Example:
        >>> from_state_dict({}, "vit_tini_patch16_224", Path("x.pth"))
        Traceback (most recent call last):
        vitrail.errors.LoadError: timm's 'vit_tini_patch16_224' is not supported. Did you mean ...
    """
    heads = [t for n, t in tensors.items() if n.startswith("head") and t.ndim == 2]
    classes = len(heads[0]) if heads else 0
    if architecture in variants():
        keywords = variants()[architecture].variant.keywords
        size = _trained_size(tensors.get("position.weight"), keywords)
        with torch.device("meta"):
            model = new_model(architecture, num_classes=classes, image_size=size)
            if model.state_dict().keys() == tensors.keys():
                channels = _channels(tensors, model)
                model = new_model(
                    architecture, num_classes=classes, image_size=size, channels=channels
                )
        if model.state_dict().keys() == tensors.keys():
            load_weights(model, tensors, str(source))
            return model
    _, keywords = of_timm(architecture)
    height, width = _trained_size(tensors.get("pos_embed"), keywords)
    averages = "fc_norm.weight" in tensors or "cls_token" not in tensors
    config = {
        "architecture": architecture,
        "num_classes": classes,
        "global_pool": "avg" if averages else "token",
        "pretrained_cfg": {"input_size": (3, height, width)},
    }
    stem = tensors.get("patch_embed.proj.weight")
    channels = stem.shape[1] if stem is not None and stem.ndim == 4 else 3
    if channels != 3:
        config["model_args"] = {"in_chans": channels}
    with reading(source):
        model = from_timm.convert(config, tensors, source)
        if channels != 3:
            model.preprocess = Preprocess.for_size(model.image_size, channels)
    return model


def _channels(tensors: Tensors, model: Backbone) -> int:
    """The channels of the images that weights read, by the first convolution of the model."""
    for name, own in model.state_dict().items():
        if own.ndim == tensors[name].ndim == 4:
            return tensors[name].shape[1] * model.channels // own.shape[1]
    return model.channels


def _trained_size(table: torch.Tensor | None, keywords: Mapping[str, Any]) -> tuple[int, ...]:
    """The image size whose square grid has as many positions as a learned table (1, P + N, D).

    Where none has, it is the size in the keywords of the architecture. Only one number of prefix
    tokens P below 3 leaves a square of a table with more than two rows.
    """
    size, patch = keywords["image_size"], keywords.get("patch_size")
    size = to_tuple(size, len(size) if isinstance(size, tuple) else 2)
    if not isinstance(patch, int) or keywords.get("stride", patch) != patch:
        return size
    if table is None or table.ndim != 3 or len(size) != 2:
        return size
    for prefix in range(3):
        side = math.isqrt(max(table.shape[1] - prefix, 0))
        if side and side**2 == table.shape[1] - prefix:
            return (side * patch,) * 2
    return size


def read_folder(folder: Path) -> Tensors:
    """Reads the weights of a folder, whichever way it holds them.

    Args:
        folder: folder with model.safetensors, pytorch_model.bin, shards of one of them and their
            index, or one other file of weights.

    Returns:
        Tensors by name.

    Raises:
        LoadError: there is no such file, several that could be meant, or one cannot be read.

    Example:
        >>> read_folder(Path("no such folder"))
        Traceback (most recent call last):
        vitrail.errors.LoadError: no such folder holds no weights.
    """
    files = sorted(folder.glob("*"))
    for whole in (WEIGHTS, PICKLED):
        names = shards(folder, whole)
        if any((folder / name).exists() for name in names):
            tensors: Tensors = {}
            for name in names:
                if not (folder / name).is_file():
                    raise LoadError(f"{folder} has no {name}. Is the download complete?")
                tensors |= read_tensors(folder / name)
            return tensors
    for suffixes in ((".safetensors",), PICKLES):
        weights = [file for file in files if file.suffix in suffixes]
        if len(weights) > 1:
            raise LoadError(
                f"{folder} holds {', '.join(file.name for file in weights)}: give the file."
            )
        if weights:
            return read_tensors(weights[0])
    raise LoadError(f"{folder} holds no weights.")


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
    if not file.is_file():
        raise LoadError(f"{file} is no regular file: give one.")
    if is_torchscript(file):
        return read_torchscript(file)
    try:
        # Training scripts keep their command line beside the weights; a Namespace is only data.
        with torch.serialization.safe_globals([argparse.Namespace]):
            tensors = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as problem:  # torch raises several kinds for what it refuses
        raise LoadError(
            f"{file} cannot be read safely, as data and nothing else ({_reason(problem)}): one of "
            "torch.save(model.state_dict(), FILE) can."
        ) from None
    while isinstance(tensors, dict):
        inner = [tensors[key] for key in NESTED if isinstance(tensors.get(key), dict)]
        if not inner and not any(map(torch.is_tensor, tensors.values())):
            inner = [value for value in tensors.values() if isinstance(value, dict)]
            inner = inner if len(inner) == 1 else []
        if not inner:
            break
        tensors = inner[0]
    if not isinstance(tensors, dict) or not tensors:
        raise LoadError(f"{file} holds no weights by name.")
    for name, tensor in tensors.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise LoadError(
                f"{file} holds no weights by name: its entry {name!r} is {type(tensor).__name__}."
            )
    return dict(tensors)


def _reason(problem: Exception) -> str:
    """Why torch refuses a pickle, without its advice to load it all the same."""
    named = re.search(r"GLOBAL (\S+)", str(problem))
    return f"it names {named[1]}" if named else type(problem).__name__


def _first_line(problem: Exception) -> str:
    return str(problem).strip().splitlines()[0]
