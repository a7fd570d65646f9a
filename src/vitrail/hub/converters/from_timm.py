"""Weights as timm saves them for the Hub: plain vit_*, deit_*, deit3_*, DINOv2's, and `families`.

Positions are resampled with antialiasing for other sizes, as timm does.
"""

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from vitrail.preprocess import Preprocess
from vitrail.errors import LoadError
from vitrail.hub.model_folder import fill
from vitrail.hub.converters import of_timm
from vitrail.hub.rename import count_blocks, fold_prefix_positions, rename
from vitrail.models.base import Backbone
from vitrail.models.deit import DeiT
from vitrail.models.vit import ViT

NAME = "timm"
# PlainViT ones only. Others of timm's vit_* differ in what no weight shows: activations, rotations.
PLAIN = re.compile(
    r"(vit|deit|deit3)_(tiny|small|medium|base|large|huge)(_distilled)?"
    r"_patch\d+(_reg\d+)?(_\d+|_dinov2)?(\..*)?"
)
HEADS = {192: 3, 384: 6, 512: 8, 768: 12, 1024: 16, 1280: 16}  # timm's, by width
TRAINING_ARGUMENTS = {
    "drop_rate", "proj_drop_rate", "attn_drop_rate", "drop_path_rate", "pos_drop_rate",
    "patch_drop_rate",
}  # fmt: skip
KNOWN_ARGUMENTS = TRAINING_ARGUMENTS | {
    "img_size", "patch_size", "in_chans", "num_classes", "global_pool", "embed_dim", "depth",
    "num_heads", "mlp_ratio", "qk_norm", "init_values", "class_token", "no_embed_class",
    "reg_tokens", "dynamic_img_size",
}  # fmt: skip
# Constructor arguments that most of timm's families have.
COMMON_ARGUMENTS = {"img_size": "image_size", "in_chans": "channels", "num_classes": "num_classes"}

RULES = [
    (r"cls_token", "class_token"),
    (r"dist_token", "distillation_token"),
    (r"reg_token", "registers"),
    (r"pos_embed", "position"),
    (r"patch_embed\.proj\.(weight|bias)", r"patch_embed.\1"),
    (r"blocks\.(\d+)\.attn\.(qkv|proj|q_norm|k_norm)\.(weight|bias)", r"blocks.\1.mixer.\2.\3"),
    (r"blocks\.(\d+)\.(norm1|norm2|mlp\.fc1|mlp\.fc2)\.(weight|bias)", r"blocks.\1.\2.\3"),
    (r"blocks\.(\d+)\.ls([12])\.gamma", r"blocks.\1.scale\2.gamma"),
    (r"norm\.(weight|bias)", r"norm.\1"),
    (r"head\.(weight|bias)", r"head.\1"),
    (r"head_dist\.(weight|bias)", r"head.dist.\1"),
]


def recognises(config: dict[str, Any]) -> bool:
    """Whether a config.json is timm's."""
    return "pretrained_cfg" in config and "architecture" in config


def convert(config: dict[str, Any], tensors: dict[str, Tensor], folder: Path) -> Backbone:
    """The model of a config and its tensors. Sizes are read off the weights."""
    architecture, arguments = config["architecture"], config.get("model_args") or {}
    preprocess = config["pretrained_cfg"]
    if not PLAIN.fullmatch(architecture):
        return _convert_family(config, tensors, folder)
    if strange := sorted(arguments.keys() - KNOWN_ARGUMENTS):
        raise LoadError(f"timm's {architecture!r} with {strange[0]}=... is not supported.")
    weights = rename(tensors, RULES, [])
    distilled = "distillation_token" in weights
    if distilled:
        weights = {
            re.sub(r"^head\.(weight|bias)$", r"head.cls.\1", k): v for k, v in weights.items()
        }

    dim, channels, *patch = weights["patch_embed.weight"].shape
    scale = weights.get("blocks.0.scale1.gamma")
    keywords: dict[str, Any] = {
        "image_size": tuple(_pair(arguments.get("img_size", preprocess["input_size"][1:]))),
        "patch_size": tuple(patch),
        "num_classes": len(weights.get("head.weight", weights.get("head.cls.weight", ()))),
        "dim": dim,
        "depth": count_blocks(weights),
        "heads": _heads(weights, arguments, dim, architecture),
        "mlp_dim": len(weights["blocks.0.mlp.fc1.weight"]),
        "channels": channels,
        "position": "learned+antialias",
    }
    tokens = ["class_token", "distillation_token"] if distilled else ["class_token"]
    if distilled:
        model: Backbone = DeiT(**keywords)
    else:
        model = ViT(
            **keywords,
            pool=_pool(config, weights, architecture),
            registers=weights["registers"].shape[1] if "registers" in weights else 0,
            qk_norm="blocks.0.mixer.q_norm.weight" in weights,
            layer_scale=None if scale is None else float(scale.flatten()[0]),
        )
    patches = model.grid[0] * model.grid[1]
    if "class_token" not in weights:
        tokens = []
    elif "registers" in weights and weights["position"].shape[1] > patches + 1:
        raise LoadError(f"timm's {architecture!r} gives registers positions: it is not supported.")
    fill(model, fold_prefix_positions(weights, tokens, patches), str(folder))
    return _dressed(model, config)


def _convert_family(config: dict[str, Any], tensors: dict[str, Tensor], folder: Path) -> Backbone:
    name = config["architecture"].partition(".")[0]  # behind the point: what it was trained on
    family, keywords = of_timm(name)
    keywords = {**keywords, "num_classes": config.get("num_classes", 0)}
    known = {**COMMON_ARGUMENTS, **family.arguments}
    for argument, value in (config.get("model_args") or {}).items():
        if argument in known:
            meaning = known[argument]
            value = tuple(value) if isinstance(value, list) else value
            keywords |= {meaning: value} if isinstance(meaning, str) else meaning(value)
        elif argument not in TRAINING_ARGUMENTS:
            raise LoadError(f"timm's {name!r} with {argument}=... is not supported.")
    model = family.model(**keywords)
    weights = rename(tensors, family.rules, family.ignored)
    fill(model, family.finish(weights, model), str(folder))
    return _dressed(model, config)


def _dressed(model: Backbone, config: dict[str, Any]) -> Backbone:
    """The model with timm's preprocessing and labels."""
    model.preprocess = Preprocess.from_timm(config["pretrained_cfg"])
    names = config.get("label_names")
    model.labels = list(names) if isinstance(names, list) else None
    return model


def _pair(size: Any) -> list[int]:
    return [size, size] if isinstance(size, int) else list(size)


def _heads(weights: dict[str, Tensor], arguments: dict[str, Any], dim: int, name: str) -> int:
    if "num_heads" in arguments:
        return int(arguments["num_heads"])
    if (norm := weights.get("blocks.0.mixer.q_norm.weight")) is not None:
        return dim // len(norm)
    if dim not in HEADS:
        raise LoadError(f"timm's {name!r}: the number of heads for dim={dim} is not known.")
    return HEADS[dim]


def _pool(config: dict[str, Any], weights: dict[str, Tensor], name: str) -> str:
    pool = config.get("global_pool", "token")
    if pool == "token" and "class_token" in weights:
        return "cls"
    if pool == "avg" and "class_token" not in weights:
        return "mean"
    raise LoadError(
        f"timm's {name!r} pools by {pool!r} "
        f"{'with' if 'class_token' in weights else 'without'} a class token: it is not supported."
    )
