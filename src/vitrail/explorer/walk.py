"""The numbers of one forward pass, for the guided walk: one patch, one block, all heads."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError, TierError
from vitrail.explorer.answers import PREDICTIONS, class_label
from vitrail.explorer.arrays import encode_floats
from vitrail.layers.attention import Attend, Attention
from vitrail.layers.block import Block, RotatedBlock
from vitrail.layers.mlp import Mlp
from vitrail.layers.patch import PatchEmbed
from vitrail.models.base import Backbone
from vitrail.values import resolve_indices

TOP = 6  # keys per head whose vectors are shown


def why_no_walk(model: Backbone) -> str:
    """Why a model has no guided walk.

    Args:
        model: the model.

    Returns:
        One line; "" if it has a walk.

    Example:
        >>> why_no_walk(vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8))
        ''
        >>> why_no_walk(vitrail.VisionMamba(8, 4, num_classes=2, dim=8, depth=1))
        'the walk is through blocks of softmax attention and an MLP, as ViT has.'
    """
    embed = getattr(model, "patch_embed", None)
    plain = isinstance(embed, PatchEmbed) and embed.stride == embed.patch
    if plain and all(_is_plain(block) for block in model.blocks):
        return ""
    return "the walk is through blocks of softmax attention and an MLP, as ViT has."


def _is_plain(block: nn.Module) -> bool:
    own = type(block).forward in (Block.forward, RotatedBlock.forward)  # not of a subclass
    if not (own and isinstance(block, Block) and isinstance(block.mixer, Attention)):
        return False
    attend = block.mixer.attend
    whole = isinstance(attend, Attend) and attend.before is None and attend.after is None
    return whole and isinstance(block.mlp, Mlp)


@torch.inference_mode()
def walk_values(model: Backbone, inputs: Tensor, block: int, patch: int) -> dict[str, Any]:
    """What a patch becomes on its way through the model, and through one block in detail.

    Args:
        model: a model without a reason in `why_no_walk`, in evaluation mode.
        inputs: one normalized image (1, C, H, W).
        block: index of the block; negative ones count from the end.
        patch: index of the patch, row by row.

    Returns:
        The fields of the document "walk" in `trace.schema.json`, arrays in float32.

    Raises:
        TierError: the model has no walk.
        ConfigError: there is no such block or patch.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> walk = walk_values(model, torch.zeros(1, 3, 8, 8), 0, 3)
        >>> walk["logits"]["shape"], walk["classes"][0]["index"] in (0, 1)
        ([2, 5], True)
    """
    if reason := why_no_walk(model):
        raise TierError(f"{type(model).__name__}: {reason}")
    (block,) = resolve_indices([block], len(model.blocks), "block")
    layer: Any = model.blocks[block]
    parts = {
        "patches": model.patch_embed, "norm1": layer.norm1, "attend": layer.mixer.attend,
        "mixer": layer.mixer, "scale1": layer.scale1, "norm2": layer.norm2,
        "hidden": layer.mlp.fc1, "activated": layer.mlp.activation, "mlp": layer.mlp,
        "scale2": layer.scale2, "block": layer,
    }  # fmt: skip
    with _noted(parts) as noted:
        embedded = model.embed(inputs)
        features = model.encode(embedded)
        pooled = model.pool(features)
        logits = model.head(pooled)
    count = embedded.patches.shape[1]
    if not 0 <= patch < count:
        raise ConfigError(f"patch={patch}: there are {count}, counted from 0.")
    prefix = embedded.prefix.shape[1]
    before, after = noted
    token = prefix + patch

    def row(tensor: Tensor) -> dict[str, Any]:
        return encode_floats(tensor[0, token])

    walk = _patch_values(model, inputs, embedded.grid[1], patch)
    patch_vector = after["patches"][0][0, patch]
    walk |= {
        "block": block, "patch": patch, "grid": list(embedded.grid), "prefix": prefix,
        "embedded": encode_floats(patch_vector),
        "token": encode_floats(embedded.patches[0, patch]),
        "input": row(before["norm1"][0]), "normed": row(after["norm1"]),
        "attended": row(after["mixer"]), "added1": row(after["scale1"]),
        "middle": row(before["norm2"][0]), "normed2": row(after["norm2"]),
        "hidden": row(after["hidden"]), "activated": row(after["activated"]),
        "mlp": row(after["mlp"]), "added2": row(after["scale2"]), "output": row(after["block"]),
    }  # fmt: skip
    walk |= _attention_values(layer.mixer.attend, before["attend"], after["attend"], token)
    return walk | _class_values(model, pooled[0], logits[0])


def _patch_values(model: Any, inputs: Tensor, columns: int, patch: int) -> dict[str, Any]:
    """The pixels of the patch, and the first of the filters that are multiplied with them."""
    embed: PatchEmbed = model.patch_embed
    height, width = embed.patch
    row, column = divmod(patch, columns)
    pixels = inputs[0, :, row * height :, column * width :][:, :height, :width]
    bias = 0.0 if embed.bias is None else embed.bias[0].item()
    return {
        "pixels": encode_floats(pixels),
        "filter": encode_floats(embed.weight[0]),
        "filter_bias": bias,
    }


def _attention_values(
    attend: Attend, arguments: tuple[Any, ...], output: Tensor, token: int
) -> dict[str, Any]:
    """Query, logits, weights and the strongest keys of one token, for all heads."""
    q, k, v, *rest = arguments
    bias = rest[0] if rest else None
    scale = q.shape[-1] ** -0.5 if attend.scale is None else attend.scale
    query = q[0, :, token]  # (heads, d)
    logits = (k[0] @ query[..., None])[..., 0] * scale  # (heads, T)
    if bias is not None:
        logits = logits + bias.expand(1, *logits.shape[:1], k.shape[2], k.shape[2])[0, :, token]
    weights = logits.softmax(dim=-1)
    top = weights.topk(min(TOP, weights.shape[1]), dim=1).indices  # (heads, TOP)
    where = top[..., None].expand(-1, -1, k.shape[-1])
    return {
        "scale": scale,
        "query": encode_floats(query),
        "logits": encode_floats(logits),
        "weights": encode_floats(weights),
        "top": top.tolist(),
        "keys": encode_floats(k[0].gather(1, where)),
        "values": encode_floats(v[0].gather(1, where)),
        "mixed": encode_floats(output[0, :, token]),
    }


def _class_values(model: Backbone, pooled: Tensor, logits: Tensor) -> dict[str, Any]:
    """The pooled features, and how the head makes the likeliest classes of them."""
    values: dict[str, Any] = {"pooled": encode_floats(pooled), "pool": _pool_name(model)}
    if not model.num_classes:
        return values | {"classes": [], "head": None, "head_bias": 0.0}
    probabilities = model.outputs.activate(logits[None].float())[0]
    index = logits.argsort(descending=True)[:PREDICTIONS].tolist()
    classes = [
        {
            "index": i,
            "label": class_label(model, i),
            "logit": logits[i].item(),
            "value": probabilities[i].item(),
        }
        for i in index
    ]
    head = model.head
    if not isinstance(head, nn.Linear):
        return values | {"classes": classes, "head": None, "head_bias": 0.0}
    bias = 0.0 if head.bias is None else head.bias[index[0]].item()
    weight = encode_floats(head.weight[index[0]])
    return values | {"classes": classes, "head": weight, "head_bias": bias}


def _pool_name(model: Backbone) -> str:
    """What the head reads: "cls", "mean" or "cls_mean"; "" where the model does not say."""
    return str(getattr(model, "pool_kind", ""))


Noted = tuple[dict[str, tuple[Any, ...]], dict[str, Tensor]]


@contextlib.contextmanager
def _noted(parts: dict[str, nn.Module]) -> Iterator[Noted]:
    """Within the context, the arguments and the output of modules are noted by their names."""
    before: dict[str, tuple[Any, ...]] = {}
    after: dict[str, Any] = {}

    def note(name: str) -> Any:
        def hook(_module: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
            before[name], after[name] = arguments, output

        return hook

    with contextlib.ExitStack() as hooks:
        for name, module in parts.items():
            hooks.callback(module.register_forward_hook(note(name)).remove)
        yield before, after
