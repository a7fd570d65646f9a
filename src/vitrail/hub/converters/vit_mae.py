"""Masked autoencoders in transformers: the encoder, which is a ViT, and the decoder beside it.

Their encoder's positions are fixed sines that are stored with the weights. Here they become a
learned table, which fine-tuning at another size resamples as that of any ViT.
"""

import re

from torch import Tensor

from vitrail.errors import LoadError
from vitrail.hub.converters import Config, MethodConverter, Transformers
from vitrail.hub.converters.from_transformers import shape_keywords
from vitrail.hub.converters.vit import EXPECTED, IGNORED, RULES
from vitrail.hub.model_folder import load_weights
from vitrail.hub.rename import Rules, Tensors, fuse_qkv, join_projections, rename
from vitrail.methods.mae import MAE
from vitrail.models.base import Backbone
from vitrail.models.vit import ViT

# Published files call the decoder's blocks by the first name, transformers 5 saves the second.
BLOCKS = r"decoder\.decoder_(layers|encoder\.layer)\."
DECODER: Rules = [
    (r"decoder\.decoder_embed\.(weight|bias)", r"embed.\1"),
    (r"decoder\.mask_token", "mask_token.weight"),
    (r"decoder\.decoder_pos_embed", "position"),
    (r"decoder\.decoder_norm\.(weight|bias)", r"norm.\1"),
    (r"decoder\.decoder_pred\.(weight|bias)", r"head.\1"),
    *RULES,
]

TRANSFORMERS = Transformers(
    "vit_mae",
    ViT,
    rules=RULES,
    keywords=shape_keywords,
    expected=EXPECTED,
    ignored=[*IGNORED, r"decoder\..*"],
    finish=[fuse_qkv],
)


def _convert(config: Config, tensors: Tensors, backbone: Backbone) -> MAE:
    """The encoder with its decoder; `LoadError` for an encoder alone."""
    own = {re.sub(BLOCKS, "encoder.layer.", n): t for n, t in tensors.items() if "decoder" in n}
    if not own:
        raise LoadError("these weights are of an encoder without a decoder: use vitrail.load.")
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
    weights = join_projections(rename(own, DECODER))
    class_position, weights["position"] = weights["position"].tensor_split([1], dim=1)
    if class_position.any():
        raise LoadError("the decoder's class token has a position, which is not supported.")
    for name in ("head.weight", "head.bias"):
        weights[name] = _channels_first(weights[name], method.layout.cell)
    load_weights(method.decoder, weights, "the decoder")
    return method


def _channels_first(rows: Tensor, patch: tuple[int, ...]) -> Tensor:
    """Rows in the order (height, width, channel) of their pixels → in the order of `patchify`."""
    pixels = rows.unflatten(0, (*patch, -1))
    return pixels.movedim(len(patch), 0).flatten(0, len(patch)).contiguous()


METHOD = MethodConverter("vit_mae", _convert)
