"""Weights as transformers saves them. The files of the families have their names.

Logits and features equal the original's. Two things are left out: the pooler of `ViTModel` and
`DeiTModel`, BERT's tanh layer, which no published checkpoint's task has trained; and mask tokens,
which serve pretraining only.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitrail.errors import LoadError
from vitrail.foreign import read_json
from vitrail.hub.converters import Config, of_transformers
from vitrail.hub.fitting import build, reading
from vitrail.hub.in_memory import names_in_files
from vitrail.hub.model_folder import CONFIG, load_weights
from vitrail.hub.rename import Tensors, rename
from vitrail.models.base import Backbone
from vitrail.models.outputs import Outputs, Target
from vitrail.preprocess import IMAGENET_MEAN, IMAGENET_STD, PILLOW_FILTERS, Preprocess

NAME = "transformers"
# What logits mean, by transformers' `problem_type`.
TARGETS: Mapping[str | None, Target] = {
    "multi_label_classification": "labels", "regression": "numbers",
}  # fmt: skip
# Processors that take one number for the height and the width, and others for the short side.
SQUEEZING = ("DeiT", "Beit", "ViT", "Siglip")
HEADS = ("head.weight", "head.cls.weight")  # the first that there is has one row per class


def recognizes(config: Config) -> bool:
    """Whether a config.json is transformers', of an architecture that is supported.

    Args:
        config: content of a config.json.

    Returns:
        True if it is.

    Example:
        >>> recognizes({"model_type": "vit"}), recognizes({"model_type": "bert"})
        (True, False)
    """
    return config.get("model_type") in of_transformers()


def convert(config: Config, tensors: Tensors, folder: Path) -> Backbone:
    """Builds a model from transformers' config and weights.

    Args:
        config: content of config.json.
        tensors: weights by transformers' names.
        folder: where both are from; preprocessor_config.json is read there.

    Returns:
        The model with its weights, preprocessing and labels.

    Raises:
        LoadError: a setting or a weight is not supported.

    Example:
        >>> convert({"model_type": "vit", "qkv_bias": False}, {}, Path("vit"))
        Traceback (most recent call last):
        vitrail.errors.LoadError: qkv_bias=False of this checkpoint is not supported, only True.
    """
    family = of_transformers()[config["model_type"]]
    _check(config, family.expected)
    weights = rename(names_in_files(tensors), family.rules, family.ignored)
    num_classes = next((len(weights[name]) for name in HEADS if name in weights), 0)
    keywords = {**family.keywords(config), "num_classes": num_classes}
    keywords |= family.read(config, weights)
    model = build(family.model, keywords, weights, folder / CONFIG)
    for step in family.finish:
        weights = step(weights, model)
    processor = read_processor(folder)
    if family.stem and processor.get("do_flip_channel_order"):
        weights[family.stem] = weights[family.stem].flip(1)
    load_weights(model, weights, str(folder))
    model.labels = _labels(config, num_classes)
    model.outputs = Outputs(TARGETS.get(config.get("problem_type"), "class"))
    with reading(folder / "preprocessor_config.json"):
        model.preprocess = _preprocess(processor, model)
    return model


def read_processor(folder: Path) -> dict[str, Any]:
    """Reads preprocessor_config.json, or the images' part of processor_config.json.

    Args:
        folder: folder of a checkpoint. The second file is what a processor of pictures and texts
            writes alone, from transformers 5 on.

    Returns:
        Settings of the image processor; empty if there is no such file.

    Example:
        >>> read_processor(Path("no such folder"))
        {}
    """
    for name, part in (
        ("preprocessor_config.json", None),
        ("processor_config.json", "image_processor"),
    ):
        if (path := folder / name).is_file():
            with reading(path):
                content = read_json(path)
                return dict(content if part is None else content.get(part) or {})
    return {}


def shape_keywords(
    config: Config, *, patch_size: int = 16, norm_eps: float = 1e-12
) -> dict[str, Any]:
    """Keywords that most of transformers' image models name alike.

    Args:
        config: content of config.json, or of a part of it.
        patch_size: patch size where the config does not say.
        norm_eps: epsilon of the norms where the config does not say.

    Returns:
        Keywords of a model's constructor.

    Example:
        >>> shape_keywords({"hidden_size": 192})["dim"]
        192
    """
    return {
        "image_size": config.get("image_size", 224),
        "patch_size": config.get("patch_size", patch_size),
        "dim": config.get("hidden_size", 768),
        "depth": config.get("num_hidden_layers", 12),
        "heads": config.get("num_attention_heads", 12),
        "mlp_dim": config.get("intermediate_size", 3072),
        "channels": config.get("num_channels", 3),
        "norm_eps": config.get("layer_norm_eps", norm_eps),
    }


def _check(config: Config, expected: Mapping[str, Any]) -> None:
    """Refuses settings that would change the output and are not supported."""
    for key, value in expected.items():
        if config.get(key, value) != value:
            raise LoadError(
                f"{key}={config[key]!r} of this checkpoint is not supported, only {value!r}."
            )


def _labels(config: Config, num_classes: int) -> list[str] | None:
    names = config.get("id2label")
    if not names or len(names) != num_classes:
        return None
    return [str(names[key]) for key in sorted(names, key=int)]


def _preprocess(processor: dict[str, Any], model: Backbone) -> Preprocess:
    if len(model.image_size) != 2:
        return model.preprocess  # videos are not resized here
    if processor:
        return preprocess_of(processor)
    size = (model.image_size[0], model.image_size[1])
    half = (0.5,) * model.channels  # the library's default for ViT
    return Preprocess(size, None, "bilinear", half, half)


def preprocess_of(config: Mapping[str, Any]) -> Preprocess:
    """Preprocessing of a model of transformers.

    ViT's squeezes the image; DINOv2's crops it, and DeiT's does both. ConvNeXt's, which CvT uses,
    crops small images and squeezes large ones. MobileViT's leaves pixels on 0..1.

    Args:
        config: content of preprocessor_config.json.

    Returns:
        The preprocessing.

    Raises:
        LoadError: it resizes to another kind of size, or by another filter.

    Example:
        >>> preprocess_of({"size": {"shortest_edge": 256},
        ...     "crop_size": 224, "do_center_crop": True}).size
        (224, 224)
    """
    sides = config.get("size", 224)
    crop = config.get("crop_size") if config.get("do_center_crop") else None
    if isinstance(sides, int):
        kind = str(config.get("image_processor_type", config.get("feature_extractor_type")))
        whole = crop is None or kind.startswith(SQUEEZING)
        sides = {"height": sides, "width": sides} if whole else {"shortest_edge": sides}
    if isinstance(sides, Mapping) and set(sides) not in ({"shortest_edge"}, {"height", "width"}):
        raise LoadError(
            f"size={sides} of this checkpoint's preprocessing is not supported, only "
            "shortest_edge, or height and width: write one of these into preprocessor_config.json."
        )
    resample = 3 if config.get("resample") is None else config["resample"]
    if resample not in PILLOW_FILTERS:
        raise LoadError(
            f"resample={resample} of this checkpoint's preprocessing is not supported, only "
            f"{PILLOW_FILTERS}: write one of these into preprocessor_config.json."
        )
    short_side: int | tuple[int, int] | None
    if crop is not None:
        crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
        short_side = sides.get("shortest_edge") or (sides["height"], sides["width"])
        size = (crop["height"], crop["width"])
    else:
        short_side = edge = sides.get("shortest_edge")
        size = (edge, edge) if edge else (sides["height"], sides["width"])
        if edge and "crop_pct" in config:
            short_side = int(edge / config["crop_pct"]) if edge < 384 else None
    # Only MobileViT's reverses the channels, and it does not normalize.
    normalized = config.get("do_normalize", "do_flip_channel_order" not in config)
    mean = config.get("image_mean", IMAGENET_MEAN) if normalized else (0.0,) * 3
    std = config.get("image_std", IMAGENET_STD) if normalized else (1.0,) * 3
    factor = config.get("rescale_factor") or 1 / 255
    white = 255 * factor if config.get("do_rescale", True) else 255  # what mean and std are of
    if math.isclose(white, 1):
        white = 1
    return Preprocess(
        size,
        short_side,
        PILLOW_FILTERS[resample],
        tuple(value / white for value in mean),
        tuple(value / white for value in std),
        squeeze=isinstance(short_side, tuple),
    )
