"""CLIP in transformers: the image tower, and the whole with its text tower; the former in timm."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitrail.errors import LoadError
from vitrail.hub.model_folder import fill
from vitrail.hub.converters import Timm, Transformers, Whole
from vitrail.hub.rename import Tensors, fold_prefix_positions, fuse, rename
from vitrail.methods.clip import CLIP
from vitrail.models.base import Backbone
from vitrail.models.clip_vit import CLIPViT

IMAGE, TEXT = r"vision_model\.", r"text_model\."
LAYER, OURS = r"encoder\.layers\.(\d+)\.", r"blocks.\1."
# What blocks are made of, in both towers of CLIP and of SigLIP.
BLOCK = [
    (LAYER + r"self_attn\.([qkv])_proj\.(weight|bias)", OURS + r"mixer.\2.\3"),
    (LAYER + r"self_attn\.out_proj\.(weight|bias)", OURS + r"mixer.proj.\2"),
    (LAYER + r"layer_norm([12])\.(weight|bias)", OURS + r"norm\2.\3"),
    (LAYER + r"mlp\.(fc[12])\.(weight|bias)", OURS + r"mlp.\2.\3"),
]
IMAGE_RULES = [
    (IMAGE + r"embeddings\.patch_embedding\.(weight|bias)", r"patch_embed.\1"),
    (IMAGE + r"embeddings\.position_embedding\.weight", "position"),
    (IMAGE + r"post_layernorm\.(weight|bias)", r"norm.\1"),
    *((IMAGE + theirs, ours) for theirs, ours in BLOCK),
]
TEXT_RULES = [
    (TEXT + r"embeddings\.token_embedding\.weight", "words"),
    (TEXT + r"embeddings\.position_embedding\.weight", "position"),
    (TEXT + r"final_layer_norm\.(weight|bias)", r"norm.\1"),
    (r"(?:text_projection|text_model\.head)\.(weight|bias)", r"proj.\1"),
    *((TEXT + theirs, ours) for theirs, ours in BLOCK),
]
INDICES = r".*\.position_ids"  # which older files hold
IGNORED = [TEXT + ".*", r"(text|visual)_projection\.weight", r"logit_(scale|bias)", INDICES]
HIDDEN_ACT = {"gelu": "gelu", "quick_gelu": "quick_gelu", "gelu_pytorch_tanh": "gelu_tanh"}


def activation(config: dict[str, Any], default: str) -> str:
    """Our name of a tower's `hidden_act`. Raises `LoadError` for one that is not known."""
    name = config.get("hidden_act", default)
    if name not in HIDDEN_ACT:
        known = ", ".join(HIDDEN_ACT)
        raise LoadError(f"hidden_act={name!r} of this checkpoint is not supported, only {known}.")
    return HIDDEN_ACT[name]


def image_keywords(config: dict[str, Any], patch: int, norm_eps: float) -> dict[str, Any]:
    """Keywords of an image tower from its part of the config. patch, norm_eps: the defaults."""
    sizes = {
        key: tuple(value) if isinstance(value := config.get(key, default), list) else value
        for key, default in (("image_size", 224), ("patch_size", patch))
    }
    return {
        **sizes,
        "dim": config.get("hidden_size", 768),
        "depth": config.get("num_hidden_layers", 12),
        "heads": config.get("num_attention_heads", 12),
        "mlp_dim": config.get("intermediate_size", 3072),
        "channels": config.get("num_channels", 3),
        "norm_eps": config.get("layer_norm_eps", norm_eps),
    }


def whole(
    config: dict[str, Any],
    tensors: Tensors,
    backbone: Backbone,
    *,
    heads: int,
    norm_eps: float,
    marks: tuple[int, int],
    **settings: Any,
) -> CLIP:
    """CLIP or SigLIP with all weights. heads, norm_eps: of the text tower, in a config that is
    silent. marks: ids of padding and of the end. settings: of `CLIP`."""
    text = config.get("text_config") or {}
    own = {n: t for n, t in tensors.items() if n.startswith(("text_model.", "text_projection."))}
    if not own:
        raise LoadError("these weights are an image tower's alone, without a text tower: use load.")
    if text.get("layer_norm_eps", norm_eps) != norm_eps:
        raise LoadError(
            f"layer_norm_eps={text['layer_norm_eps']} of this checkpoint's text tower is not "
            f"supported, only {norm_eps}."
        )
    weights = fuse(rename(own, TEXT_RULES, [INDICES]))
    vocabulary, dim = weights["words"].shape
    projection = tensors.get("visual_projection.weight", ())
    method = CLIP(
        backbone,
        _tokenizer(config, vocabulary, len(weights["position"]), marks),
        embed_dim=len(projection),
        text_dim=dim,
        text_depth=text.get("num_hidden_layers", 12),
        text_heads=text.get("num_attention_heads", heads),
        text_mlp_dim=len(weights["blocks.0.mlp.fc1.weight"]),
        **settings,
    )
    fill(method.text, weights, "the text tower")
    with torch.no_grad():
        if isinstance(projection, Tensor):
            method.image_proj.load_state_dict({"weight": projection})
        method.log_scale.copy_(tensors["logit_scale"].squeeze())
        if method.bias is not None:
            method.bias.copy_(tensors["logit_bias"].squeeze())
    return method


def _tokenizer(
    config: dict[str, Any], vocabulary: int, context: int, marks: tuple[int, int]
) -> Any:
    """The tokenizer.json beside the config; a stand-in that only knows sizes where there is none.

    Sizes are the tables': these may have more rows than there are words.
    """
    from vitrail.data.text import Tokenizer
    from vitrail.hub.method_folder import Absent

    pad, end = marks
    sizes = {"vocabulary": vocabulary, "context": context, "end": end}
    folder = config.get("_name_or_path")
    if not folder or not (Path(folder) / "tokenizer.json").is_file():
        return Absent("tokenizer", sizes)
    tokenizer = Tokenizer.load(Path(folder) / "tokenizer.json", context, pad)
    vars(tokenizer).update(sizes)
    return tokenizer


def _keywords(config: dict[str, Any]) -> dict[str, Any]:
    vision = config.get("vision_config") or {}
    act = activation(vision, "quick_gelu")
    return {**image_keywords(vision, 32, 1e-5), "activation": act}


def _finish(tensors: Tensors, model: Backbone) -> Tensors:
    return fold_prefix_positions(fuse(tensors), ["class_token"], model.grid[0] * model.grid[1])


def _convert(config: dict[str, Any], tensors: Tensors, backbone: Backbone) -> CLIP:
    text = config.get("text_config") or {}
    end = text.get("eos_token_id", 49407)
    if end == 2:  # older configs say so, and the highest id is meant
        end = text.get("vocab_size", 49408) - 1
    act = activation(text, "quick_gelu")
    marks = (0, end)
    return whole(
        config, tensors, backbone, heads=8, norm_eps=1e-5, marks=marks, text_activation=act
    )


METHOD = Whole("clip", _convert)
TRANSFORMERS = Transformers(
    "clip",
    CLIPViT,
    rules=[
        (IMAGE + r"embeddings\.class_embedding", "class_token"),
        (IMAGE + r"pre_layrnorm\.(weight|bias)", r"pre_norm.\1"),
        *IMAGE_RULES,
    ],
    keywords=_keywords,
    ignored=IGNORED,
    finish=_finish,
)
TIMM = Timm(
    CLIPViT,
    rules=[
        (r"cls_token", "class_token"),
        (r"pos_embed", "position"),
        (r"patch_embed\.proj\.weight", "patch_embed.weight"),
        (r"norm_pre\.(weight|bias)", r"pre_norm.\1"),
        (r"blocks\.(\d+)\.attn\.(.*)", r"blocks.\1.mixer.\2"),
        (r"(blocks\..*|norm\..*|head\..*)", r"\1"),
    ],
    arguments={
        "patch_size": "patch_size",
        "embed_dim": lambda dim: {"dim": dim, "mlp_dim": 4 * dim},
        "depth": "depth",
        "num_heads": "heads",
    },
    finish=_finish,
)
