"""Vision Mamba with a cache: it reads a sequence, or an image, part by part."""

import math
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.errors import ConfigError, TierError, describe_value
from vitrail.layers.inference_params import InferenceParams, evaluation
from vitrail.models.features import Features

if TYPE_CHECKING:
    from vitrail.models.vim import VisionMamba


@torch.no_grad()
def resume(
    model: "VisionMamba", tokens: Tensor, context: tuple[Any, ...], cache: InferenceParams
) -> Tensor:
    """Applies the layers to the next tokens of a sequence.

    Args:
        model: a Vision Mamba; it computes as in evaluation, without gradients.
        tokens: (B, T, D), those after the ones that the cache remembers.
        context: context of the whole `TokenSequence`.
        cache: the cache, whose `seqlen_offset` is advanced by T.

    Returns:
        (B, T, D), before the last norm.

    Raises:
        TierError: a layer reads later tokens too.
        ConfigError: the cache or the sequence is too short.

    Example:
        >>> model = vitrail.VisionMamba(16, 4, 5, dim=8, depth=1, scan="forward", pool="last")
        >>> tokens, context, _ = model.to_sequence(model.embed(torch.zeros(1, 3, 16, 16)))
        >>> cache = InferenceParams(max_seqlen=16, max_batch_size=1)
        >>> resume(model, tokens[:, :3], context, cache).shape, cache.seqlen_offset
        (torch.Size([1, 3, 8]), 3)
    """
    _, rotation, order = context
    slots = next_slots(order, cache.seqlen_offset, tokens.shape[1])
    cache.require_room(*tokens.shape[:2])
    if rotation is not None:  # (L, D), or (B, L, D) where patches were dropped
        rotation = rotation[0][..., slots, :], rotation[1][..., slots, :]
    with evaluation(model):
        tokens = model.run_blocks(tokens, None, rotation, order[slots], cache)
    cache.seqlen_offset = slots.stop
    return tokens


def next_slots(order: Tensor, start: int, count: int) -> slice:
    """The slots of the next tokens in a sequence.

    Args:
        order: (L,), of the whole sequence.
        start: number of tokens that were read.
        count: number of tokens to come.

    Returns:
        The slots.

    Raises:
        ConfigError: the sequence is shorter.

    Example:
        >>> next_slots(torch.arange(16), 9, 4)
        slice(9, 13, None)
    """
    if start + count > len(order):
        raise ConfigError(
            f"{start + count} tokens are more than the {len(order)} of these features: begin anew, "
            "with features of another image."
        )
    return slice(start, start + count)


@torch.no_grad()
def resume_image(model: "VisionMamba", images: Tensor, cache: InferenceParams) -> Features:
    """Reads the next part of an image.

    Args:
        model: a Vision Mamba; it computes as in evaluation, without gradients.
        images: (B, C, h, w), the part, as in `VisionMamba.forward`.
        cache: the cache, which is advanced by the part's tokens.

    Returns:
        Features of the patches so far, after the last norm.

    Raises:
        TierError: the model reads later tokens too, or has class tokens and is not given the whole
            image.
        ConfigError: the cache is too small, is none, or holds the end of the image already, or the
            part is neither of one row nor whole rows.

    Example:
        >>> model = vitrail.VisionMamba(16, 4, 5, dim=8, depth=1, scan="forward", pool="last")
        >>> cache = InferenceParams(max_seqlen=16, max_batch_size=1)
        >>> resume_image(model, torch.zeros(1, 3, 4, 16), cache).patches.shape
        torch.Size([1, 4, 8])
    """
    if not isinstance(cache, InferenceParams):
        raise ConfigError(
            f"inference_params={describe_value(cache)} is no cache: give "
            "vitrail.InferenceParams(max_seqlen, max_batch_size)."
        )
    with evaluation(model):
        patches, (rows, columns) = model.patch_embed(images)
        count, total, start = patches.shape[1], math.prod(model.grid), cache.seqlen_offset
        if start + count > total:
            raise ConfigError(
                f"{start} and {count} more patches are more than the {total} of "
                f"image_size={model.image_size}: call reset for another image."
            )
        width, column = model.grid[1], start % model.grid[1]
        if (columns, column) != (width, 0) and (rows > 1 or column + columns > width):
            raise ConfigError(
                f"a part of {rows} x {columns} patches from column {column} of {width} on is "
                "neither of one row nor whole rows: give one of them."
            )
        if model.prefix and count < total:
            raise TierError(
                f'pool="{model.pool_kind}": a class token stands among patches to come, so give '
                'the whole image, or use a model with pool="last" or "mean".'
            )
        # The patches that are not there only hold their slots.
        patches = F.pad(patches, (0, 0, start, total - start - count))
        tokens, context, to_features = model.to_sequence(model.add_positions(patches, model.grid))
        tokens = tokens[:, start : start + count + model.prefix]
        tokens = model.norm(resume(model, tokens, context, cache))
    if cache.outputs is not None and start:
        tokens = torch.cat([cache.outputs, tokens], dim=1)
    cache.outputs = tokens
    return to_features(tokens) if model.prefix else Features(tokens, tokens[:, :0], model.grid)
