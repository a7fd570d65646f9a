"""A saved model: a folder with config.json and model.safetensors."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from vitrail.arguments import checked
from vitrail.errors import ConfigError, LoadError, check_choice, describe_value
from vitrail.files import to_json
from vitrail.foreign import check_header, read_json
from vitrail.hub.fitting import PICKLES as PICKLES
from vitrail.hub.fitting import (
    build,
    cure_of,
    fitting_state,
    reading,
    require_labels,
    unwrapped,
)
from vitrail.hub.rename import Tensors
from vitrail.manifest import MANIFEST, hashed_folder
from vitrail.models.base import Backbone
from vitrail.models.outputs import Outputs, Target
from vitrail.models.registry import get_model_class, is_registered
from vitrail.plugins import how_to_run, plugins_of
from vitrail.preprocess import Preprocess
from vitrail.tensor_bytes import tensor_bytes
from vitrail.values import check_value

CONFIG, WEIGHTS = "config.json", "model.safetensors"
VERSION = 2


@checked
def save(
    model: nn.Module, folder: str | Path, *, metrics: Mapping[str, object] | None = None
) -> Path:
    """Saves a model with its preprocessing, labels and origin.

    The folder appears when it is complete; one that this function wrote is replaced. A model inside
    torch.compile, DataParallel, DistributedDataParallel or AveragedModel is saved without them.

    Args:
        model: any model.
        folder: path of the folder.
        metrics: what was measured of the model, to be saved with it.

    Returns:
        The folder.

    Raises:
        ConfigError: the model could not be built again: a keyword is no plain value, the class is
            not registered, or a part of the model was replaced or is held by other processes; or
            the folder holds other files.

    Example:
        >>> import tempfile
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=1, mlp_dim=8)
        >>> folder = save(model, Path(tempfile.mkdtemp()) / "model")
        >>> sorted(file.name for file in folder.iterdir())
        ['config.json', 'manifest.json', 'model.safetensors']
    """
    folder, inner = Path(folder), unwrapped(model)
    if not isinstance(inner, Backbone):
        paths = [path for path, part in inner.named_modules() if isinstance(part, Backbone)]
        cure = f"save the model in it, its {paths[0]}" if paths else "save its state_dict"
        raise ConfigError(f"{type(inner).__name__} is no model of Vitrail: {cure}.")
    model = inner
    _require_whole(model)
    require_plain(model)
    _require_own(folder)
    check_value("preprocess", model.preprocess, Preprocess)
    if not _are_names(model.labels):
        raise ConfigError(f"labels={describe_value(model.labels)} is no list of names: give one.")
    with torch.device("meta"):
        twin = type(model)(**model.config)
    require_labels(model, twin.num_classes)
    weights = fitting_state(model, twin, f"{type(model).__name__}")
    config = {
        "format": "vitrail",
        "version": VERSION,
        "architecture": type(model).__name__,
        "keywords": model.config,
        "preprocess": model.preprocess.to_dict(),
        "labels": model.labels,
        "outputs": dataclasses.asdict(model.outputs),
        "origin": model.origin,
        "metrics": metrics or {},
        "plugins": plugins_of(model.modules()),
    }
    text = to_json(config, indent=1, default=_plain)
    with hashed_folder(folder) as writer:
        writer.write(CONFIG, text)
        writer.write(WEIGHTS, tensor_bytes(weights))
    return folder


def _require_whole(model: Backbone) -> None:
    """Raises `ConfigError` if other processes hold a part of the weights."""
    for name, parameter in model.named_parameters():
        if hasattr(parameter, "full_tensor") or name.endswith("_flat_param"):
            raise ConfigError(
                f"{name} is sharded over several processes (FSDP): gather the weights by "
                "torch.distributed.checkpoint.state_dict.get_model_state_dict with "
                "full_state_dict=True, and save an unsharded model that has loaded them."
            )


def require_plain(model: Backbone) -> None:
    """Checks that a model can be built again from its config.

    Args:
        model: any model.

    Raises:
        ConfigError: it was built with a keyword that is no plain value, or its class is not
            registered.

    Example:
        >>> require_plain(vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=1, mlp_dim=8))
    """
    if not is_registered(type(model)):
        name = type(model).__name__
        raise ConfigError(
            f"{name} is no registered class, so this model cannot be saved: put "
            f"@vitrail.register_model above class {name}."
        )
    for name, value in model.config.items():
        try:
            json.dumps(value)
        except TypeError:
            raise ConfigError(
                f"{name}={value!r} is no plain value, so the {type(model).__name__} cannot be "
                f"saved: register it under a name (vitrail.layers.mixers.register_mixer), and give "
                "the name."
            ) from None


def read(folder: Path, config: dict[str, Any]) -> Backbone:
    """Reads a model that `save` wrote. Its parameters have the dtype that they were saved in.

    Args:
        folder: folder of the model.
        config: content of its config.json.

    Returns:
        The model, in training mode.

    Raises:
        LoadError: the folder is of another version, or its weights do not fit.

    Example:
        >>> import tempfile
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=1, mlp_dim=8)
        >>> folder = save(model.half(), Path(tempfile.mkdtemp()) / "model")
        >>> read(folder, read_model_config(folder)).norm.weight.dtype
        torch.float16
    """
    if config.get("version") != VERSION:
        raise LoadError(
            f"{folder} has format version {config.get('version')}, and this Vitrail reads version "
            f"{VERSION}: use the Vitrail that wrote it."
        )
    weights = read_weights(folder)
    try:
        with reading(folder / CONFIG):
            architecture = get_model_class(config["architecture"])
            model = build(architecture, config["keywords"], weights, folder / CONFIG)
    except ConfigError as problem:
        if cure := how_to_run(config.get("plugins")):
            raise LoadError(f"{folder}: {problem}{cure}") from None
        raise
    load_weights(model, weights, str(folder), keep_dtype=True)
    with reading(folder / CONFIG):
        model.preprocess = Preprocess.from_dict(config["preprocess"])
        model.outputs = _outputs(config.get("outputs", {}), model)
        model.labels, model.origin = _labels(config["labels"], model), str(config["origin"])
    return model


def read_model_config(folder: Path) -> dict[str, Any]:
    """Reads config.json.

    Args:
        folder: folder of a model, of whatever library.

    Returns:
        Its content.

    Raises:
        LoadError: the file is missing or is no JSON object.

    Example:
        >>> read_model_config(Path("no such folder"))
        Traceback (most recent call last):
        vitrail.errors.LoadError: no such folder is no model folder: it has no config.json.
    """
    try:
        config = read_json(folder / CONFIG)
    except FileNotFoundError:
        cure = cure_of(folder)
        raise LoadError(f"{folder} is no model folder: it has no {CONFIG}.{cure}") from None
    if not isinstance(config, dict):
        raise LoadError(f"{folder / CONFIG} holds no settings of a model.")
    return config


def read_weights(folder: Path) -> Tensors:
    """Reads model.safetensors, or the shards that an index lists.

    Args:
        folder: folder of a model, of whatever library.

    Returns:
        Tensors by name.

    Raises:
        LoadError: a file is missing or damaged, or the index names a file outside the folder.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / WEIGHTS).write_bytes(safetensors.torch.save({"x": torch.ones(2)}))
        >>> read_weights(folder)
        {'x': tensor([1., 1.])}
    """
    tensors: Tensors = {}
    for shard in shards(folder):
        if not (folder / shard).is_file():
            cure = cure_of(folder) or " Is the download complete?"
            raise LoadError(f"{folder} has no {shard}.{cure}")
        tensors |= read_file(folder / shard)
    return tensors


def read_file(file: Path) -> Tensors:
    """Reads one .safetensors file.

    Args:
        file: path of the file.

    Returns:
        Tensors by name.

    Raises:
        LoadError: the file is damaged.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "x.safetensors"
        >>> _ = file.write_bytes(safetensors.torch.save({"x": torch.ones(2)}))
        >>> read_file(file)
        {'x': tensor([1., 1.])}
    """
    try:
        check_header(file)
        return safetensors.torch.load_file(file)
    except (SafetensorError, OSError, ValueError) as problem:
        if file.is_file() and file.read_bytes()[:64].startswith(b"version https://git-lfs"):
            raise LoadError(
                f"{file} is a pointer of Git LFS, not the weights: `git lfs pull` fetches them."
            ) from None
        if isinstance(problem, LoadError):
            raise
        raise LoadError(f"{file} is damaged: {problem}.") from None


@torch.inference_mode(False)  # or weights that are loaded within could never be trained
def load_weights(
    model: nn.Module, weights: Tensors, source: str, *, keep_dtype: bool = False
) -> None:
    """Loads weights into a model, which may be on the meta device, so that nothing is drawn twice.

    Args:
        model: any module, on the CPU or on the meta device.
        weights: a tensor for each name of the module's state dict.
        source: where the weights are from, for error messages.
        keep_dtype: whether parameters take the dtype of the weights rather than keep their own.

    Raises:
        LoadError: a weight is missing, is one too many, or has another shape.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False, device="meta")
        >>> load_weights(layer, {"weight": torch.ones(1, 2)}, "here")
        >>> layer.weight.device
        device(type='cpu')
    """
    own = model.state_dict()
    missing, extra = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    if missing or extra:
        problem = f"lacks {missing[0]}" if missing else f"has {extra[0]}, which the model lacks"
        more = len(missing) + len(extra) - 1
        raise LoadError(f"{source} {problem}" + (f" ({more} more differ)." if more else "."))
    complete: Tensors = {}
    for name, tensor in weights.items():
        if tensor.shape != own[name].shape:
            raise LoadError(
                f"{source}: {name} is {tuple(tensor.shape)}, and the model's is "
                f"{tuple(own[name].shape)}."
            )
        if tensor.is_meta or tensor.layout is not torch.strided:
            kind = "on the meta device" if tensor.is_meta else "sparse"
            raise LoadError(f"{source}: {name} is {kind}: save the values of a dense tensor.")
        if tensor.is_floating_point() != own[name].is_floating_point():
            raise LoadError(
                f"{source}: {name} is {tensor.dtype}, and the model's {own[name].dtype}: quantized "
                "weights are not supported."
            )
        # A copy: tensors of a file are views of one mapped storage, and not aligned.
        dtype = tensor.dtype if keep_dtype else own[name].dtype
        complete[name] = tensor.to(dtype, copy=True, memory_format=torch.contiguous_format)
    model.load_state_dict(complete, assign=True)


def _outputs(value: dict[str, Any], model: Backbone) -> Outputs:
    target = value.get("target", "class")
    check_choice("outputs.target", target, get_args(Target))
    outputs = Outputs(target, tuple(map(float, value.get("thresholds", ()))))
    if len(outputs.thresholds) not in (0, model.num_classes):
        raise ValueError(f"outputs has {len(outputs.thresholds)} thresholds")
    return outputs


def _are_names(labels: object) -> bool:
    listed = isinstance(labels, list | tuple) and all(isinstance(n, str | int) for n in labels)
    return labels is None or listed


def _labels(labels: object, model: Backbone) -> list[str] | None:
    if labels is None:
        return None
    if not isinstance(labels, list) or model.num_classes not in (0, len(labels)):
        raise ValueError(f"labels={labels!r} are not {model.num_classes} names")
    return [str(label) for label in labels]


def _plain(value: Any) -> Any:
    """A number of NumPy or a tensor with one element as a number of Python."""
    try:
        return value.item()
    except (AttributeError, ValueError, RuntimeError):
        raise ConfigError(f"{value!r} is no plain value, and cannot be saved as JSON.") from None


def _require_own(folder: Path) -> None:
    """Checks that saving deletes nothing but what `save` wrote."""
    if folder.is_file():
        raise ConfigError(f"{folder} is a file: choose a folder.")
    others = {file.name for file in folder.glob("*")} - {CONFIG, WEIGHTS, MANIFEST}
    if others:
        raise ConfigError(
            f"{folder} holds {min(others)}, which saving would delete: choose another folder."
        )
    if (folder / CONFIG).exists() and read_model_config(folder).get("format") != "vitrail":
        raise ConfigError(
            f"{folder} holds a model of another library, which saving would delete: choose another "
            "folder."
        )


def shards(folder: Path, whole: str = WEIGHTS) -> list[str]:
    """Names of the files with weights.

    Args:
        folder: folder of a model.
        whole: name of the file if there is one only; an index of several adds ".index.json".

    Returns:
        Names, which need not exist.

    Raises:
        LoadError: the index cannot be read, or names a file outside the folder.

    Example:
        >>> shards(Path("no such folder"))
        ['model.safetensors']
    """
    index = folder / f"{whole}.index.json"
    if not index.is_file():
        return [whole]
    try:
        names = sorted(set(read_json(index)["weight_map"].values()))
    except (OSError, LookupError, TypeError, AttributeError) as problem:
        raise LoadError(f"{index} cannot be read: {problem!r}.") from None
    for name in names:
        if not isinstance(name, str) or Path(name).name != name:
            raise LoadError(f"{index} names {name!r}, which is no file of this folder.")
    return names
