"""BEiT's weights in timm and in transformers."""

from typing import Any

import torch

from vitrail.errors import LoadError
from vitrail.hub.converters import Config, MethodConverter, Timm, Transformers
from vitrail.hub.converters.from_transformers import shape_keywords
from vitrail.hub.model_folder import load_weights
from vitrail.hub.rename import Tensors
from vitrail.methods.beit import BEiTPretraining
from vitrail.models.base import Backbone
from vitrail.models.beit import BEiT

BLOCK, OURS = r"blocks\.(\d+)\.", r"blocks.\1."
ATTENTION = OURS + "mixer."
TIMM = Timm(
    BEiT,
    rules=[
        (r"cls_token", "class_token.weight"),
        (r"patch_embed\.proj\.(weight|bias)", r"patch_embed.\1"),
        (r"rel_pos_bias\.relative_position_bias_table", "bias.table"),
        (BLOCK + r"attn\.relative_position_bias_table", OURS + "mixer.bias.table"),
        (BLOCK + r"attn\.([qv]_bias)", ATTENTION + r"qkv.\2"),
        (BLOCK + r"attn\.(qkv|proj)\.(weight|bias)", ATTENTION + r"\2.\3"),
        (BLOCK + r"gamma_([12])", OURS + r"scale\2.gamma"),
        (BLOCK + r"((?:norm1|norm2|mlp\.fc1|mlp\.fc2)\..*)", OURS + r"\2"),
        (r"fc_norm\.(weight|bias)", r"pool_norm.\1"),
        (r"(norm|head)\.(weight|bias)", r"\1.\2"),
    ],
    arguments={
        "init_values": "layer_scale",
        "use_rel_pos_bias": lambda per_block: {"shared_bias": not per_block},
        "use_shared_rel_pos_bias": lambda _: {},
    },
)

BASE = r"(?:beit\.)?"
LAYER = BASE + r"encoder\.layer\.(\d+)\."


def _keywords(config: Config) -> dict[str, Any]:
    per_block, shared = (
        config.get(f"use_{kind}relative_position_bias", False) for kind in ("", "shared_")
    )
    if per_block == shared:
        raise LoadError(
            f"use_relative_position_bias={per_block} with "
            f"use_shared_relative_position_bias={shared} of this checkpoint is not supported: "
            "exactly one of them must be true."
        )
    # A model that predicts visual tokens normalizes every token and has no pooler.
    pretraining = "BeitForMaskedImageModeling" in config.get("architectures", ())
    mean = config.get("use_mean_pooling", True) and not pretraining
    return {
        **shape_keywords(config),
        "pool": "mean" if mean else "cls",
        "shared_bias": shared,
        "layer_scale": config.get("layer_scale_init_value", 0.1),
    }


def _fuse_weights(tensors: Tensors, _model: Backbone) -> Tensors:
    """Joins the weights of queries, keys and values; their biases stay apart."""
    weights = dict(tensors)
    for name in tensors:
        if name.endswith(".q.weight"):
            stem = name.removesuffix("q.weight")
            parts = [weights.pop(f"{stem}{letter}.weight") for letter in "qkv"]
            weights[f"{stem}qkv.weight"] = torch.cat(parts)
    return weights


TRANSFORMERS = Transformers(
    "beit",
    BEiT,
    rules=[
        (BASE + r"embeddings\.cls_token", "class_token.weight"),
        (BASE + r"embeddings\.patch_embeddings\.projection\.(weight|bias)", r"patch_embed.\1"),
        (BASE + r"encoder\.relative_position_bias\..*_table", "bias.table"),
        (
            LAYER + r"attention\.attention\.relative_position_bias\..*_table",
            OURS + "mixer.bias.table",
        ),
        *(
            rule
            for word, letter in (("query", "q"), ("key", "k"), ("value", "v"))
            for rule in (
                (LAYER + rf"attention\.attention\.{word}\.weight", ATTENTION + f"{letter}.weight"),
                (LAYER + rf"attention\.attention\.{word}\.bias", ATTENTION + f"qkv.{letter}_bias"),
            )
        ),
        (LAYER + r"attention\.output\.dense\.(weight|bias)", ATTENTION + r"proj.\2"),
        (LAYER + r"lambda_([12])", OURS + r"scale\2.gamma"),
        (LAYER + r"layernorm_before\.(weight|bias)", OURS + r"norm1.\2"),
        (LAYER + r"layernorm_after\.(weight|bias)", OURS + r"norm2.\2"),
        (LAYER + r"intermediate\.dense\.(weight|bias)", OURS + r"mlp.fc1.\2"),
        (LAYER + r"output\.dense\.(weight|bias)", OURS + r"mlp.fc2.\2"),
        (BASE + r"pooler\.layernorm\.(weight|bias)", r"pool_norm.\1"),
        (BASE + r"layernorm\.(weight|bias)", r"norm.\1"),
        (r"classifier\.(weight|bias)", r"head.\1"),
    ],
    keywords=_keywords,
    expected={"hidden_act": "gelu", "use_absolute_position_embeddings": False},
    # The mask token and the head of visual tokens serve pretraining only.
    ignored=[BASE + r"embeddings\.mask_token", r"lm_head\..*", r".*relative_position_index"],
    finish=[_fuse_weights],
)


def _convert(_config: Config, tensors: Tensors, backbone: Backbone) -> BEiTPretraining:
    """The encoder, its mask token and the head of visual tokens, without their tokenizer."""
    from vitrail.hub.method_folder import MissingPart  # it imports this package

    head = {n.removeprefix("lm_head."): t for n, t in tensors.items() if n.startswith("lm_head.")}
    ends = {n.rpartition("embeddings.")[2]: t for n, t in tensors.items()}
    if not head or "mask_token" not in ends:
        raise LoadError("these weights predict no visual tokens: use load.")
    method = BEiTPretraining(backbone, MissingPart("tokenizer"), vocabulary=len(head["weight"]))
    load_weights(method.head, head, "the head")
    with torch.no_grad():  # theirs replaces a patch; ours is added to a patch of bias alone
        method.mask_token.weight.copy_(ends["mask_token"] - ends["projection.bias"])
    return method


METHOD = MethodConverter("beit", _convert)
