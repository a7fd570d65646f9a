"""A saved model: a folder of config.json and model.safetensors."""

import json
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from vitrail.errors import LoadError
from vitrail.files import atomic_folder
from vitrail.models.base import Backbone
from vitrail.models.registry import get_model_class

CONFIG, WEIGHTS = "config.json", "model.safetensors"
VERSION = 1


def save(model: Backbone, folder: str | Path, *, metrics: dict[str, Any] | None = None) -> Path:
    """Writes a model with its preprocessing, labels and origin; the folder appears whole or not."""
    folder = Path(folder)
    config = {
        "format": "vitrail",
        "version": VERSION,
        "architecture": type(model).__name__,
        "keywords": model.config,
        "preprocess": model.preprocess.to_dict() if model.preprocess is not None else None,
        "labels": model.labels,
        "origin": model.origin,
        "metrics": metrics or {},
    }
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    with atomic_folder(folder) as temporary:
        (temporary / CONFIG).write_text(json.dumps(config, indent=1, ensure_ascii=False), "utf-8")
        (temporary / WEIGHTS).write_bytes(safetensors.torch.save(weights))
    return folder


def read(folder: Path, config: dict[str, Any]) -> Backbone:
    """The model of a folder that `save` wrote. Raises `LoadError` where it does not fit."""
    from vitrail.preprocess import Preprocess

    if config.get("version") != VERSION:
        raise LoadError(
            f"{folder} has format version {config.get('version')}, and this Vitrail reads "
            f"{VERSION}: update Vitrail."
        )
    # JSON has no tuples.
    keywords = {k: tuple(v) if isinstance(v, list) else v for k, v in config["keywords"].items()}
    model: Backbone = get_model_class(config["architecture"])(**keywords)  # type: ignore[arg-type]
    fill(model, read_weights(folder), str(folder))
    if config["preprocess"] is not None:
        model.preprocess = Preprocess.from_dict(config["preprocess"])
    model.labels, model.origin = config["labels"], config["origin"]
    return model


def read_config(folder: Path) -> dict[str, Any]:
    """config.json, or the error that says what is missing."""
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
    except FileNotFoundError:
        raise LoadError(f"{folder} is no model folder: it has no {CONFIG}.") from None
    except (OSError, ValueError) as problem:
        raise LoadError(f"{folder / CONFIG} cannot be read: {problem}.") from None
    if not isinstance(config, dict):
        raise LoadError(f"{folder / CONFIG} holds no settings of a model.")
    return config


def read_weights(folder: Path) -> dict[str, Any]:
    """Tensors by name from model.safetensors, or from the shards that an index lists."""
    index = folder / f"{WEIGHTS}.index.json"
    if index.is_file():
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    else:
        shards = [WEIGHTS]
    tensors: dict[str, Any] = {}
    for shard in shards:
        if not (folder / shard).is_file():
            pickles = [p.name for p in folder.iterdir() if p.suffix in (".bin", ".pth", ".pt")]
            cure = (
                f"it has {pickles[0]}: `vitrail convert {folder} NEW` rewrites it safely."
                if pickles
                else "is the download complete?"
            )
            raise LoadError(f"{folder} has no {shard}; {cure}")
        tensors |= read_file(folder / shard)
    return tensors


def read_file(file: Path) -> dict[str, Any]:
    """Tensors by name of one .safetensors file."""
    from safetensors import SafetensorError

    try:
        return safetensors.torch.load_file(file)
    except SafetensorError as problem:
        raise LoadError(f"{file} is damaged: {problem}.") from None


def fill(model: nn.Module, weights: dict[str, Any], place: str) -> None:
    """Puts every weight in its place; raises `LoadError` for one too many, too few or misshapen."""
    mine = model.state_dict()
    missing, extra = sorted(mine.keys() - weights.keys()), sorted(weights.keys() - mine.keys())
    if missing or extra:
        what = f"lacks {missing[0]}" if missing else f"has {extra[0]}, which the model has not"
        more = len(missing) + len(extra) - 1
        raise LoadError(f"{place} {what}" + (f" ({more} more differ)." if more else "."))
    for name, tensor in weights.items():
        if tensor.shape != mine[name].shape:
            raise LoadError(
                f"{place}: {name} is {tuple(tensor.shape)}, and the model's is "
                f"{tuple(mine[name].shape)}."
            )
    model.load_state_dict(weights)
