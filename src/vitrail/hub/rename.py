"""What every foreign ViT needs on its way in: renaming, fusing, folding."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from vitrail.errors import LoadError

Tensors = dict[str, Tensor]


def rename(tensors: Tensors, rules: Sequence[tuple[str, str]], ignored: Sequence[str]) -> Tensors:
    """Applies the first rule (pattern, replacement) whose pattern matches each whole name.

    `ignored` are patterns of names left out on purpose. Raises `LoadError` for a name that no rule
    knows: a weight that finds no place means another network.
    """
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        if any(re.fullmatch(pattern, name) for pattern in ignored):
            continue
        for pattern, replacement in rules:
            if match := re.fullmatch(pattern, name):
                renamed[match.expand(replacement)] = tensor
                break
        else:
            raise LoadError(
                f"weight {name!r} has no place in this architecture: it is not supported."
            )
    return renamed


def normed(
    theirs: str, ours: str, layer: str = "conv", norm: str = "bn", kind: str = "conv"
) -> list[tuple[str, str]]:
    """Rules for a layer with the batch norm after it: our `ConvNorm`, or `LinearNorm` ("linear").

    layer, norm: what the two are called at `theirs`.
    """
    state = rf"\.{norm}\.(weight|bias|running_mean|running_var|num_batches_tracked)"
    return [
        (rf"{theirs}\.{layer}\.weight", f"{ours}.{kind}.weight"),
        (theirs + state, rf"{ours}.norm.\{re.compile(theirs).groups + 1}"),
    ]


def fuse(tensors: Tensors, letters: str = "qkv") -> Tensors:
    """Joins `*.q.weight`, `*.k.weight`, `*.v.weight` (and biases) into `*.qkv.weight`.

    letters: "kv" leaves queries apart.
    """
    fused = dict(tensors)
    for name in tensors:
        if match := re.fullmatch(rf"(.*)\.{letters[0]}\.(weight|bias)", name):
            stem, kind = match.groups()
            parts = [fused.pop(f"{stem}.{letter}.{kind}") for letter in letters]
            fused[f"{stem}.{letters}.{kind}"] = torch.cat(parts)
    return fused


def fold_prefix_positions(tensors: Tensors, tokens: Sequence[str], patches: int) -> Tensors:
    """Adds the positions of prefix tokens to those tokens; `position` keeps those of patches.

    `tokens` are the names of the prefix tokens that have a position, in the order of the table.
    """
    folded = dict(tensors)
    table = folded["position"]
    table = table if table.ndim == 3 else table[None]
    own = table.shape[1] - patches
    if own not in (0, len(tokens)):
        raise LoadError(
            f"the position table has {table.shape[1]} rows, where {patches} patches "
            f"and {len(tokens)} prefix tokens were expected."
        )
    for place, token in enumerate(tokens[:own]):
        folded[token] = folded[token] + table[:, place : place + 1]
    folded["position"] = table[:, own:].contiguous()
    return folded


def count_blocks(tensors: Tensors) -> int:
    """How many blocks the (renamed) weights have."""
    return 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
