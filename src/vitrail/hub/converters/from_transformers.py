"""Weights as the transformers library saves them: ViT, DeiT, DINOv2, and those in `families`.

Logits and features equal the original's. Left out on purpose, and saying so here: the pooler of
ViTModel and DeiTModel (a tanh layer of BERT's, trained by no published checkpoint's task) and mask
tokens, which serve pretraining only.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from vitrail.preprocess import Preprocess
from vitrail.errors import LoadError
from vitrail.hub.model_folder import fill
from vitrail.hub.converters import Transformers, of_transformers
from vitrail.hub.rename import fold_prefix_positions, fuse, rename
from vitrail.models.base import Backbone
from vitrail.models.deit import DeiT
from vitrail.models.vit import ViT

NAME = "transformers"
KINDS = ("vit", "deit", "dinov2", "dinov2_with_registers")

BASE = r"(?:vit\.|deit\.|dinov2\.|dinov2_with_registers\.|vivit\.)?"
LAYER = BASE + r"encoder\.layer\.(\d+)\."
RULES = [
    (BASE + r"embeddings\.cls_token", "class_token"),
    (BASE + r"embeddings\.distillation_token", "distillation_token"),
    (BASE + r"embeddings\.register_tokens", "registers"),
    (BASE + r"embeddings\.position_embeddings", "position"),
    (BASE + r"embeddings\.patch_embeddings\.projection\.(weight|bias)", r"patch_embed.\1"),
    (LAYER + r"attention\.attention\.(q)uery\.(weight|bias)", r"blocks.\1.mixer.\2.\3"),
    (LAYER + r"attention\.attention\.(k)ey\.(weight|bias)", r"blocks.\1.mixer.\2.\3"),
    (LAYER + r"attention\.attention\.(v)alue\.(weight|bias)", r"blocks.\1.mixer.\2.\3"),
    (LAYER + r"attention\.output\.dense\.(weight|bias)", r"blocks.\1.mixer.proj.\2"),
    (LAYER + r"(?:norm1|layernorm_before)\.(weight|bias)", r"blocks.\1.norm1.\2"),
    (LAYER + r"(?:norm2|layernorm_after)\.(weight|bias)", r"blocks.\1.norm2.\2"),
    (LAYER + r"(?:mlp\.fc1|intermediate\.dense)\.(weight|bias)", r"blocks.\1.mlp.fc1.\2"),
    (LAYER + r"(?:mlp\.fc2|output\.dense)\.(weight|bias)", r"blocks.\1.mlp.fc2.\2"),
    (LAYER + r"layer_scale([12])\.lambda1", r"blocks.\1.scale\2.gamma"),
    (BASE + r"layernorm\.(weight|bias)", r"norm.\1"),
    (r"classifier\.(weight|bias)", r"head.\1"),
    (r"cls_classifier\.(weight|bias)", r"head.cls.\1"),
    (r"distillation_classifier\.(weight|bias)", r"head.dist.\1"),
]
IGNORED = [BASE + r"pooler\.dense\.(weight|bias)", BASE + r"embeddings\.mask_token"]


def recognises(config: dict[str, Any]) -> bool:
    """Whether a config.json is transformers', of a kind known here."""
    return config.get("model_type") in (*KINDS, *of_transformers())


def convert(config: dict[str, Any], tensors: dict[str, Tensor], folder: Path) -> Backbone:
    """The model of a config and its tensors; preprocessing from preprocessor_config.json."""
    kind = config["model_type"]
    if kind in of_transformers():
        return _convert_family(of_transformers()[kind], config, tensors, folder)
    _check(config, {"hidden_act": "gelu", "qkv_bias": True, "use_swiglu_ffn": False})
    keywords = vit_keywords(config)
    weights = fuse(rename(tensors, RULES, IGNORED))
    classes = next((len(weights[n]) for n in ("head.weight", "head.cls.weight") if n in weights), 0)
    if kind == "deit":
        pool = "both" if "head.cls.weight" in weights else "cls"
        model: Backbone = DeiT(num_classes=classes, pool=pool, **keywords)
        tokens = ["class_token", "distillation_token"]
    else:
        pool = "cls+mean" if kind.startswith("dinov2") and classes else "cls"
        if kind.startswith("dinov2"):
            keywords["layer_scale"] = float(config.get("layerscale_value", 1.0))
        if "registers" in weights:
            keywords["registers"] = weights["registers"].shape[1]
            keywords["position"] = "learned+antialias"
        model = ViT(num_classes=classes, pool=pool, **keywords)
        tokens = ["class_token"]
    patches = model.grid[0] * model.grid[1]
    fill(model, fold_prefix_positions(weights, tokens, patches), str(folder))
    model.labels = _labels(config, classes)
    model.preprocess = _preprocess(folder, model)
    return model


def _convert_family(
    family: Transformers, config: dict[str, Any], tensors: dict[str, Tensor], folder: Path
) -> Backbone:
    _check(config, family.expected)
    weights = rename(tensors, family.rules, family.ignored)
    classes = len(weights.get("head.weight", ()))
    model = family.model(**family.keywords(config), num_classes=classes)
    weights = family.finish(weights, model)
    if family.stem and read_processor(folder).get("do_flip_channel_order"):
        weights[family.stem] = weights[family.stem].flip(1)
    fill(model, weights, str(folder))
    model.labels = _labels(config, classes)
    model.preprocess = _preprocess(folder, model)
    return model


def vit_keywords(config: dict[str, Any]) -> dict[str, Any]:
    """Keywords of `ViT` from the config of one, classes and pool aside."""
    dim = config.get("hidden_size", 768)
    if config["model_type"].startswith("dinov2"):
        mlp_dim = int(dim * config.get("mlp_ratio", 4))
    else:
        mlp_dim = config.get("intermediate_size", 3072)
    sizes = {
        k: tuple(v) if isinstance(v := config.get(k, default), list) else v
        for k, default in (("image_size", 224), ("patch_size", 16))
    }
    return {
        **sizes,
        "dim": dim,
        "depth": config.get("num_hidden_layers", 12),
        "heads": config.get("num_attention_heads", 12),
        "mlp_dim": mlp_dim,
        "channels": config.get("num_channels", 3),
        "norm_eps": config.get("layer_norm_eps", 1e-12),
    }


def _check(config: dict[str, Any], expected: Mapping[str, Any]) -> None:
    """Raises `LoadError` for settings that would change the output and are not supported."""
    for key, value in expected.items():
        if config.get(key, value) != value:
            raise LoadError(
                f"{key}={config[key]!r} of this checkpoint is not supported, only {value!r}."
            )


def _labels(config: dict[str, Any], classes: int) -> list[str] | None:
    names = config.get("id2label")
    if not names or len(names) != classes:
        return None
    return [names[key] for key in sorted(names, key=int)]


def read_processor(folder: Path) -> dict[str, Any]:
    """preprocessor_config.json; empty where there is none."""
    path = folder / "preprocessor_config.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def _preprocess(folder: Path, model: Backbone) -> Preprocess | None:
    if len(model.image_size) != 2:
        return None  # of videos, what is prepared is up to who reads them
    if processor := read_processor(folder):
        return Preprocess.from_transformers(processor)
    size = (model.image_size[0], model.image_size[1])
    half = (0.5,) * model.channels  # the library's default for ViT
    return Preprocess(size, None, "bilinear", half, half)
