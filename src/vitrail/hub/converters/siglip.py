"""SigLIP in timm, the image tower, and in transformers, the image tower or the method with both."""

from typing import Any

from vitrail.errors import LoadError
from vitrail.hub.converters import Config, MethodConverter, Timm, Transformers
from vitrail.hub.converters.clip import (
    IGNORED,
    IMAGE,
    IMAGE_RULES,
    activation,
    build_clip,
    image_config,
)
from vitrail.hub.converters.from_transformers import shape_keywords
from vitrail.hub.rename import Tensors, batch_positions, fuse_qkv
from vitrail.methods.clip import CLIP
from vitrail.models.base import Backbone
from vitrail.models.siglip_vit import SigLIPViT

TANH = "gelu_pytorch_tanh"
POOL = IMAGE + r"head\."


def _keywords(config: Config) -> dict[str, Any]:
    vision = image_config(config)
    if activation(vision, TANH) != "gelu_tanh":
        raise LoadError(f"hidden_act={vision['hidden_act']!r} is not supported, only {TANH!r}.")
    return shape_keywords(vision, patch_size=16, norm_eps=1e-6)


def _read(_config: Config, weights: Tensors) -> dict[str, Any]:
    """A classifier of transformers reads the mean of the patches, not their attention pooling."""
    pools = "attention_pool.query.weight" in weights and "head.weight" not in weights
    return {"pool": "map" if pools else "mean"}


def _split_pooling(tensors: Tensors, model: Backbone) -> Tensors:
    """Splits the pooling's joint projection into those to queries and to keys and values."""
    weights = dict(tensors)
    if model.attention_pool is None:
        return {n: t for n, t in weights.items() if not n.startswith("attention_pool.")}
    for kind in ("weight", "bias"):
        joined = weights.pop(f"attention_pool.mixer.in_proj_{kind}")
        dim = len(joined) // 3
        query, rest = joined.split([dim, 2 * dim])
        weights[f"attention_pool.mixer.q.{kind}"] = query
        weights[f"attention_pool.mixer.kv.{kind}"] = rest
    return weights


def _convert(config: Config, tensors: Tensors, backbone: Backbone) -> CLIP:
    text = config.get("text_config") or {}
    return build_clip(
        config,
        tensors,
        backbone,
        heads=12,
        norm_eps=1e-6,
        pad=text.get("pad_token_id", 1),
        end=1,
        loss="sigmoid",
        text_pool="last",
        text_activation=activation(text, TANH),
    )


METHOD = MethodConverter("siglip", _convert)
TRANSFORMERS = tuple(
    Transformers(
        kind,
        SigLIPViT,
        rules=[
            *IMAGE_RULES,
            (POOL + "probe", "attention_pool.query.weight"),
            (POOL + r"attention\.(in_proj_(?:weight|bias))", r"attention_pool.mixer.\1"),
            (POOL + r"attention\.out_proj\.(weight|bias)", r"attention_pool.mixer.proj.\1"),
            (POOL + r"layernorm\.(weight|bias)", r"attention_pool.norm.\1"),
            (POOL + r"mlp\.(fc[12])\.(weight|bias)", r"attention_pool.mlp.\1.\2"),
        ],
        keywords=_keywords,
        ignored=IGNORED,
        finish=[fuse_qkv, batch_positions, _split_pooling],
        read=_read,
    )
    for kind in ("siglip", "siglip_vision_model")
)
# timm computes the exact GELU; the weights were trained with its approximation by tanh, as here.
TIMM = Timm(
    SigLIPViT,
    rules=[
        (r"pos_embed", "position.weight"),
        (r"patch_embed\.proj\.(weight|bias)", r"patch_embed.\1"),
        (r"attn_pool\.latent", "attention_pool.query.weight"),
        (r"attn_pool\.(q|kv|proj)\.(weight|bias)", r"attention_pool.mixer.\1.\2"),
        (r"attn_pool\.(norm|mlp\.fc[12])\.(weight|bias)", r"attention_pool.\1.\2"),
        (r"blocks\.(\d+)\.attn\.(.*)", r"blocks.\1.mixer.\2"),
        (r"(blocks\..*|norm\..*|head\..*)", r"\1"),
    ],
    pool="map",
)
