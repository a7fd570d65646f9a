"""CLIP in transformers, its image tower or both towers, and the image tower in timm."""

from pathlib import Path
from typing import Any

import torch

from vitrail.errors import LoadError
from vitrail.hub.converters import Config, MethodConverter, Timm, Transformers
from vitrail.hub.converters.from_transformers import shape_keywords
from vitrail.hub.method_folder import read_tokenizer
from vitrail.hub.model_folder import load_weights
from vitrail.hub.rename import Rules, Tensors, batch_positions, fuse_qkv, rename
from vitrail.methods.clip import CLIP
from vitrail.models.base import Backbone
from vitrail.models.clip_vit import CLIPViT

IMAGE, TEXT = r"(?:vision_model\.)*", r"text_model\."
LAYER, OURS = r"encoder\.layers\.(\d+)\.", r"blocks.\1."
# The blocks of both towers, of CLIP and of SigLIP.
BLOCK: Rules = [
    (LAYER + r"self_attn\.([qkv])_proj\.(weight|bias)", OURS + r"mixer.\2.\3"),
    (LAYER + r"self_attn\.out_proj\.(weight|bias)", OURS + r"mixer.proj.\2"),
    (LAYER + r"layer_norm([12])\.(weight|bias)", OURS + r"norm\2.\3"),
    (LAYER + r"mlp\.(fc[12])\.(weight|bias)", OURS + r"mlp.\2.\3"),
]
IMAGE_RULES: Rules = [
    (IMAGE + r"embeddings\.patch_embedding\.(weight|bias)", r"patch_embed.\1"),
    (IMAGE + r"embeddings\.position_embedding\.weight", "position.weight"),
    (IMAGE + r"post_layernorm\.(weight|bias)", r"norm.\1"),
    *((IMAGE + theirs, ours) for theirs, ours in BLOCK),
    (r"classifier\.(weight|bias)", r"head.\1"),
]
TEXT_RULES: Rules = [
    (TEXT + r"embeddings\.token_embedding\.weight", "words.weight"),
    (TEXT + r"embeddings\.position_embedding\.weight", "position.weight"),
    (TEXT + r"final_layer_norm\.(weight|bias)", r"norm.\1"),
    (r"(?:text_projection|text_model\.head)\.(weight|bias)", r"proj.\1"),
    *((TEXT + theirs, ours) for theirs, ours in BLOCK),
]
INDICES = r".*\.position_ids"  # stored in older files
IGNORED = [TEXT + ".*", r"(text|visual)_projection\.weight", r"logit_(scale|bias)", INDICES]
HIDDEN_ACT = {"gelu": "gelu", "quick_gelu": "quick_gelu", "gelu_pytorch_tanh": "gelu_tanh"}


def activation(config: Config, default: str) -> str:
    """The activation of a tower, by its name here.

    Args:
        config: the tower's part of config.json.
        default: transformers' name of the activation where the config does not say.

    Returns:
        A key of `vitrail.layers.mlp.ACTIVATIONS`.

    Raises:
        LoadError: the activation is not supported.

    Example:
        >>> activation({"hidden_act": "gelu_pytorch_tanh"}, "gelu")
        'gelu_tanh'
    """
    name = config.get("hidden_act", default)
    if name not in HIDDEN_ACT:
        supported = ", ".join(HIDDEN_ACT)
        raise LoadError(
            f"hidden_act={name!r} of this checkpoint is not supported, only {supported}."
        )
    return HIDDEN_ACT[name]


def image_config(config: Config) -> Config:
    """The settings of the image tower.

    Args:
        config: content of config.json, of both towers or of the image tower alone.

    Returns:
        The part about the image tower.

    Example:
        >>> image_config({"model_type": "clip", "vision_config": {"hidden_size": 8}})
        {'hidden_size': 8}
    """
    alone = config.get("model_type", "").endswith("_vision_model")
    return config if alone else config.get("vision_config") or {}


def build_clip(
    config: Config,
    tensors: Tensors,
    backbone: Backbone,
    *,
    heads: int,
    norm_eps: float,
    pad: int,
    end: int,
    **settings: Any,
) -> CLIP:
    """Builds CLIP or SigLIP with both towers.

    Args:
        config: content of config.json.
        tensors: all weights, by transformers' names.
        backbone: the image tower with its weights.
        heads: attention heads of the text tower where the config does not say.
        norm_eps: epsilon of the text tower's norms, the only one that is supported.
        pad: token id after the end.
        end: token id after the last word.
        **settings: further settings of `CLIP`.

    Returns:
        The method with its weights, and with the tokenizer beside the config if there is one.

    Raises:
        LoadError: the weights are an image tower's only, or are not supported.

    Example:
        >>> build_clip({}, {}, vitrail.create_model("CLIPViT", image_size=8, patch_size=4,
        ...     num_classes=0, dim=8, depth=1, heads=1, mlp_dim=8), heads=8, norm_eps=1e-5, pad=0,
        ...     end=1)
        Traceback (most recent call last):
        vitrail.errors.LoadError: these weights have no text tower: use vitrail.load.
    """
    text = config.get("text_config") or {}
    own = {n: t for n, t in tensors.items() if n.startswith(("text_model.", "text_projection."))}
    if not own:
        raise LoadError("these weights have no text tower: use vitrail.load.")
    if text.get("layer_norm_eps", norm_eps) != norm_eps:
        raise LoadError(
            f"layer_norm_eps={text['layer_norm_eps']} of this checkpoint's text tower is not "
            f"supported, only {norm_eps}."
        )
    weights = rename(own, TEXT_RULES, [INDICES])
    weights = fuse_qkv(batch_positions(weights, backbone), backbone)
    vocabulary, dim = weights["words.weight"].shape
    projection = tensors.get("visual_projection.weight")
    # The sizes of the tables: these may have more rows than there are words.
    sizes = {"vocabulary": vocabulary, "context": weights["position.weight"].shape[1], "end": end}
    file = Path(config.get("_name_or_path") or "no folder") / "tokenizer.json"
    method = CLIP(
        backbone,
        read_tokenizer(file, "tokenizer", sizes, pad),
        embed_dim=0 if projection is None else len(projection),
        text_dim=dim,
        text_depth=text.get("num_hidden_layers", 12),
        text_heads=text.get("num_attention_heads", heads),
        text_mlp_dim=len(weights["blocks.0.mlp.fc1.weight"]),
        **settings,
    )
    load_weights(method.text, weights, "the text tower")
    with torch.no_grad():
        if projection is not None:
            method.image_proj.load_state_dict({"weight": projection})
        method.log_scale.copy_(tensors["logit_scale"].squeeze())
        if method.bias is not None:
            method.bias.copy_(tensors["logit_bias"].squeeze())
    return method


def _keywords(config: Config) -> dict[str, Any]:
    vision = image_config(config)
    keywords = shape_keywords(vision, patch_size=32, norm_eps=1e-5)
    return {**keywords, "activation": activation(vision, "quick_gelu")}


def _read(_config: Config, weights: Tensors) -> dict[str, Any]:
    """A classifier of transformers reads the mean of the patches, before the last norm."""
    return {"pool": "patches" if "head.weight" in weights else "cls"}


def _without_unread_norm(tensors: Tensors, model: Backbone) -> Tensors:
    names = model.state_dict()
    return {n: t for n, t in tensors.items() if not n.startswith("norm.") or n in names}


def _batch_class_token(tensors: Tensors, _model: Backbone) -> Tensors:
    """The class token (D,) as (1, 1, D)."""
    token = tensors["class_token.weight"]
    return {**tensors, "class_token.weight": token.view(1, 1, -1)}


def _convert(config: Config, tensors: Tensors, backbone: Backbone) -> CLIP:
    text = config.get("text_config") or {}
    end = text.get("eos_token_id", 49407)
    if end == 2:  # older configs say so, and mean the highest id
        end = text.get("vocab_size", 49408) - 1
    return build_clip(
        config,
        tensors,
        backbone,
        heads=8,
        norm_eps=1e-5,
        pad=0,
        end=end,
        text_activation=activation(text, "quick_gelu"),
    )


METHOD = MethodConverter("clip", _convert)
TRANSFORMERS = tuple(
    Transformers(
        kind,
        CLIPViT,
        rules=[
            (IMAGE + r"embeddings\.class_embedding", "class_token.weight"),
            (IMAGE + r"pre_layrnorm\.(weight|bias)", r"pre_norm.\1"),
            *IMAGE_RULES,
        ],
        keywords=_keywords,
        ignored=IGNORED,
        finish=[batch_positions, _batch_class_token, fuse_qkv, _without_unread_norm],
        read=_read,
    )
    for kind in ("clip", "clip_vision_model")
)


def _architectures(patch: int, dim: int, depth: int, image_sizes: str) -> dict[str, Any]:
    """Towers with the exact GELU, which most CLIP models after OpenAI's have."""
    size = {768: "base", 1024: "large", 1280: "huge"}[dim]
    return {
        f"vit_{size}_patch{patch}_clip_{image_size}": {
            "image_size": int(image_size), "patch_size": patch, "dim": dim, "depth": depth,
            "heads": {768: 12}.get(dim, 16), "mlp_dim": 4 * dim, "activation": "gelu",
        }
        for image_size in image_sizes.split()
    }  # fmt: skip


TIMM = Timm(
    CLIPViT,
    rules=[
        (r"cls_token", "class_token.weight"),
        (r"pos_embed", "position.weight"),
        (r"patch_embed\.proj\.weight", "patch_embed.weight"),
        (r"norm_pre\.(weight|bias)", r"pre_norm.\1"),
        (r"blocks\.(\d+)\.attn\.(.*)", r"blocks.\1.mixer.\2"),
        (r"(blocks\..*|norm\..*|head\..*)", r"\1"),
    ],
    architectures={
        **_architectures(32, 768, 12, "224 256 384 448"),
        **_architectures(16, 768, 12, "224 384"),
        **_architectures(14, 1024, 24, "224 336"),
        **_architectures(14, 1280, 32, "224 336 378"),
    },
    pool="token",
)
