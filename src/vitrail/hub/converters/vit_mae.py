"""Masked autoencoders in transformers: the encoder, which is a ViT, and the whole with its decoder.

Their encoder's positions are sines, stored with the weights; here they are a learned table, so that
fine-tuning at another size resamples them as it does those of any ViT.
"""

import math
import re
from typing import Any

from torch import Tensor

from vitrail.errors import LoadError
from vitrail.hub.model_folder import fill
from vitrail.hub.converters import Transformers, Whole
from vitrail.hub.rename import Tensors, fold_prefix_positions, fuse, rename
from vitrail.hub.converters.from_transformers import IGNORED, RULES, vit_keywords
from vitrail.methods.mae import MAE
from vitrail.models.base import Backbone
from vitrail.models.vit import ViT

# Published files call the decoder's blocks by the first name, transformers 5 saves the second.
BLOCKS = r"decoder\.decoder_(layers|encoder\.layer)\."
DECODER = [
    (r"decoder\.decoder_embed\.(weight|bias)", r"embed.\1"),
    (r"decoder\.mask_token", "mask_token"),
    (r"decoder\.decoder_pos_embed", "position"),
    (r"decoder\.decoder_norm\.(weight|bias)", r"norm.\1"),
    (r"decoder\.decoder_pred\.(weight|bias)", r"head.\1"),
    *RULES,
]


def _finish(tensors: Tensors, model: Backbone) -> Tensors:
    return fold_prefix_positions(fuse(tensors), ["class_token"], math.prod(model.grid))


TRANSFORMERS = Transformers(
    "vit_mae",
    ViT,
    rules=RULES,
    keywords=vit_keywords,
    expected={"hidden_act": "gelu", "qkv_bias": True},
    ignored=[*IGNORED, r"decoder\..*"],
    finish=_finish,
)


def _convert(config: dict[str, Any], tensors: Tensors, backbone: Backbone) -> MAE:
    """The encoder with its decoder. Raises `LoadError` for an encoder alone."""
    own = {re.sub(BLOCKS, "encoder.layer.", n): t for n, t in tensors.items() if "decoder" in n}
    if not own:
        raise LoadError("these weights are an encoder's alone, without a decoder: use load.")
    dim = config.get("decoder_hidden_size", 512)
    method = MAE(
        backbone,
        mask_ratio=config.get("mask_ratio", 0.75),
        decoder_dim=dim,
        decoder_depth=config.get("decoder_num_hidden_layers", 8),
        decoder_heads=config.get("decoder_num_attention_heads", 16),
        decoder_mlp_ratio=config.get("decoder_intermediate_size", 2048) / dim,
        norm_pixels=config.get("norm_pix_loss", False),
        norm_eps=config.get("layer_norm_eps", 1e-12),
    )
    weights = fuse(rename(own, DECODER, []))
    prefix, weights["position"] = weights["position"].tensor_split([1], dim=1)
    if prefix.any():
        raise LoadError("the decoder's class token has a position of its own: not supported.")
    for name in ("head.weight", "head.bias"):
        weights[name] = _channels_first(weights[name], method.layout.cell)
    fill(method.decoder, weights, "the decoder")
    return method


def _channels_first(rows: Tensor, patch: tuple[int, ...]) -> Tensor:
    """Rows in the order of their pixels (height, width, channel) → in that of `patchify`."""
    pixels = rows.unflatten(0, (*patch, -1))
    return pixels.movedim(len(patch), 0).flatten(0, len(patch)).contiguous()


METHOD = Whole("vit_mae", _convert)
