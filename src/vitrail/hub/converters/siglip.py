"""SigLIP in transformers: the image tower, and the whole with its text tower."""

from typing import Any

from vitrail.errors import LoadError
from vitrail.hub.converters import Transformers, Whole
from vitrail.hub.converters.clip import IGNORED, IMAGE, IMAGE_RULES, activation, image_keywords, whole
from vitrail.hub.rename import Tensors, fold_prefix_positions, fuse
from vitrail.methods.clip import CLIP
from vitrail.models.base import Backbone
from vitrail.models.siglip_vit import SigLIPViT

TANH = "gelu_pytorch_tanh"
POOL = IMAGE + r"head\."


def _keywords(config: dict[str, Any]) -> dict[str, Any]:
    vision = config.get("vision_config") or {}
    if activation(vision, TANH) != "gelu_tanh":
        raise LoadError(f"hidden_act={vision['hidden_act']!r} is not supported, only {TANH!r}.")
    return image_keywords(vision, 16, 1e-6)


def _finish(tensors: Tensors, _model: Backbone) -> Tensors:
    weights = fold_prefix_positions(fuse(tensors), [], len(tensors["position"]))
    weights["attention_pool.query"] = weights["attention_pool.query"].flatten()
    for kind in ("weight", "bias"):
        joined = weights.pop(f"attention_pool.mixer.in_proj_{kind}")
        dim = len(joined) // 3
        query, rest = joined.split([dim, 2 * dim])
        weights[f"attention_pool.mixer.q.{kind}"] = query
        weights[f"attention_pool.mixer.kv.{kind}"] = rest
    return weights


def _convert(config: dict[str, Any], tensors: Tensors, backbone: Backbone) -> CLIP:
    text = config.get("text_config") or {}
    return whole(
        config,
        tensors,
        backbone,
        heads=12,
        norm_eps=1e-6,
        marks=(text.get("pad_token_id", 1), 1),
        loss="sigmoid",
        text_pool="last",
        text_activation=activation(text, TANH),
    )


METHOD = Whole("siglip", _convert)
TRANSFORMERS = Transformers(
    "siglip",
    SigLIPViT,
    rules=[
        *IMAGE_RULES,
        (POOL + "probe", "attention_pool.query"),
        (POOL + r"attention\.(in_proj_(?:weight|bias))", r"attention_pool.mixer.\1"),
        (POOL + r"attention\.out_proj\.(weight|bias)", r"attention_pool.mixer.proj.\1"),
        (POOL + r"layernorm\.(weight|bias)", r"attention_pool.norm.\1"),
        (POOL + r"mlp\.(fc[12])\.(weight|bias)", r"attention_pool.mlp.\1.\2"),
    ],
    keywords=_keywords,
    ignored=IGNORED,
    finish=_finish,
)
