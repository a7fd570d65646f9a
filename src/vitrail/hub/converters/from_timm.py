"""Weights as timm saves them for the Hub. The files of the families have their names."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vitrail.errors import LoadError
from vitrail.hub.converters import Config, Keywords, of_timm
from vitrail.hub.fitting import build
from vitrail.hub.model_folder import CONFIG, load_weights
from vitrail.hub.rename import Tensors, rename
from vitrail.models.base import Backbone
from vitrail.preprocess import Preprocess

NAME = "timm"


def _width(dim: int) -> dict[str, Any]:
    return {"dim": dim, "mlp_dim": 4 * dim}


# What most families call their arguments. A family's own table comes first.
ARGUMENTS: Mapping[str, str | Callable[[Any], Keywords]] = {
    "img_size": "image_size",
    "in_chans": "channels",
    "num_classes": "num_classes",
    "patch_size": "patch_size",
    "embed_dim": _width,
    "depth": "depth",
    "num_heads": "heads",
}
# Arguments that change training only.
TRAINING_ARGUMENTS = (
    "drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate", "pos_drop_rate",
    "patch_drop_rate",
)  # fmt: skip


def recognizes(config: Config) -> bool:
    """Whether a config.json is timm's.

    Args:
        config: content of a config.json.

    Returns:
        True if it is.

    Example:
        >>> recognizes({"model_type": "vit"})
        False
    """
    return "pretrained_cfg" in config and "architecture" in config


def convert(config: Config, tensors: Tensors, folder: Path) -> Backbone:
    """Builds a model from timm's config and weights.

    Args:
        config: content of config.json.
        tensors: weights by timm's names.
        folder: where both are from, for error messages.

    Returns:
        The model with its weights, preprocessing and labels.

    Raises:
        LoadError: the architecture, one of its arguments or a weight is not supported.

    Example:
        >>> convert({"architecture": "resnet50", "pretrained_cfg": {}}, {}, Path("resnet"))
        Traceback (most recent call last):
        vitrail.errors.LoadError: timm's 'resnet50' is not supported.
    """
    name = config["architecture"].partition(".")[0]  # the rest says what it was trained on
    family, keywords = of_timm(name)
    keywords = {**keywords, "num_classes": config.get("num_classes", 0)}
    meanings, defaults = {**ARGUMENTS, **family.arguments}, {"global_pool": family.pool}
    arguments = config.get("model_args") or {}
    if "global_pool" in arguments:
        config = {**config, "global_pool": arguments["global_pool"]}  # "" is not repeated there
    for argument, value in arguments.items():
        if argument in meanings:
            meaning = meanings[argument]
            value = tuple(value) if isinstance(value, list) else value
            keywords |= {meaning: value} if isinstance(meaning, str) else meaning(value)
        elif argument not in TRAINING_ARGUMENTS and value != defaults.get(argument):
            raise LoadError(f"timm's {name!r} with {argument}={value!r} is not supported.")
    weights = rename(tensors, family.rules, family.ignored)
    keywords |= family.read(config, weights)
    model = build(family.model, keywords, weights, folder / CONFIG)
    for step in family.finish:
        weights = step(weights, model)
    load_weights(model, weights, str(folder))
    model.preprocess = Preprocess.from_timm(config["pretrained_cfg"])
    names = config.get("label_names")
    if isinstance(names, list) and len(names) == model.num_classes:
        model.labels = [str(name) for name in names]
    return model
