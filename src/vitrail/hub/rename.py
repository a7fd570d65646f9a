"""Renaming of weights from another library, and the other steps that most architectures need."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vitrail.errors import LoadError

Tensors = dict[str, Tensor]
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "net.", "timm_model.")
Rules = Sequence[tuple[str, str]]  # (pattern of a whole name, replacement)


def rename(tensors: Tensors, rules: Rules, ignored: Sequence[str] = ()) -> Tensors:
    """Renames every tensor by the first rule whose pattern matches its whole name.

    Args:
        tensors: weights by the other library's names.
        rules: pairs of a regular expression and a replacement.
        ignored: regular expressions of names that are left out on purpose.

    Returns:
        The weights by Vitrail's names.

    Raises:
        LoadError: no rule matches a name. Such a weight belongs to another network.

    Example:
        >>> list(rename({"fc.bias": torch.zeros(2)}, [(r"fc\\.(weight|bias)", r"head.\\1")]))
        ['head.bias']
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
            if any(".lora_" in other for other in tensors):
                raise LoadError(
                    f"{name!r} is of an adapter of PEFT (LoRA): merge it by "
                    "model.merge_and_unload(), and save that."
                )
            raise LoadError(
                f"the weight {name!r} belongs to no module of this architecture: this checkpoint "
                "is of another network, which is not supported."
            )
    return renamed


def strip_prefixes(tensors: Tensors) -> Tensors:
    """Removes what wrappers put before every name: DataParallel, torch.compile, Lightning and such.

    Args:
        tensors: weights by name.

    Returns:
        The weights by the names that the wrapped model gives them.

    Example:
        >>> list(strip_prefixes({"_orig_mod.module.fc.bias": torch.zeros(2)}))
        ['fc.bias']
    """
    tensors = {name: tensor for name, tensor in tensors.items() if name != "n_averaged"}
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return strip_prefixes({n.removeprefix(prefix): t for n, t in tensors.items()})
    return tensors


def strip_shared_prefixes(tensors: Tensors) -> Tensors:
    """Removes whatever all names begin with: the attributes that hold the network in a larger one.

    Args:
        tensors: weights by name, of a network of several parts.

    Returns:
        The weights by names that do not all begin with the same part.

    Example:
        >>> names = ("encoder.trunk.norm.bias", "encoder.trunk.head.bias")
        >>> list(strip_shared_prefixes(dict.fromkeys(names, torch.zeros(2))))
        ['norm.bias', 'head.bias']
    """
    tensors = strip_prefixes(tensors)
    while len(tensors) > 1 and len({name.partition(".")[0] for name in tensors}) == 1:
        tensors = {name.partition(".")[2]: tensor for name, tensor in tensors.items()}
    return tensors


def normed(
    theirs: str, ours: str, layer: str = "conv", norm: str = "bn", kind: str = "conv"
) -> list[tuple[str, str]]:
    """Rules for a layer with the batch norm after it.

    Args:
        theirs: pattern of the module that holds both.
        ours: name of the `ConvNorm` or `LinearNorm` here.
        layer: name of the layer in `theirs`.
        norm: name of the batch norm in `theirs`.
        kind: name of the layer here, "conv" in `ConvNorm` and "linear" in `LinearNorm`.

    Returns:
        Rules for `rename`.

    Example:
        >>> normed("stem", "embed")[0]
        ('stem\\\\.conv\\\\.weight', 'embed.conv.weight')
    """
    state = rf"\.{norm}\.(weight|bias|running_mean|running_var|num_batches_tracked)"
    return [
        (rf"{theirs}\.{layer}\.weight", f"{ours}.{kind}.weight"),
        (theirs + state, rf"{ours}.norm.\{re.compile(theirs).groups + 1}"),
    ]


def join_projections(tensors: Tensors, letters: str = "qkv") -> Tensors:
    """Joins `*.q.weight`, `*.k.weight`, `*.v.weight` and biases into `*.qkv.weight` and bias.

    Args:
        tensors: weights by name.
        letters: names of the projections that are joined; "kv" leaves the queries apart.

    Returns:
        The weights with joined ones in place of their parts.

    Raises:
        LoadError: a part is missing.

    Example:
        >>> parts = {f"mixer.{letter}.bias": torch.zeros(2) for letter in "qkv"}
        >>> join_projections(parts)["mixer.qkv.bias"].shape
        torch.Size([6])
    """
    fused = dict(tensors)
    for name in tensors:
        if match := re.fullmatch(rf"(.*)\.{letters[0]}\.(weight|bias)", name):
            stem, kind = match.groups()
            if missing := [part for part in letters if f"{stem}.{part}.{kind}" not in fused]:
                raise LoadError(f"there is {name}, and {stem}.{missing[0]}.{kind} is missing.")
            parts = [fused.pop(f"{stem}.{letter}.{kind}") for letter in letters]
            fused[f"{stem}.{letters}.{kind}"] = torch.cat(parts)
    return fused


# Steps after renaming: functions of the weights and of the model that they are for.


def fuse_qkv(tensors: Tensors, _model: nn.Module) -> Tensors:
    """Joins the projections to queries, keys and values.

    Args:
        tensors: weights by name.

    Returns:
        The weights with `qkv` in place of `q`, `k` and `v`.

    Example:
        >>> parts = {f"mixer.{letter}.bias": torch.zeros(2) for letter in "qkv"}
        >>> list(fuse_qkv(parts, nn.Identity()))
        ['mixer.qkv.bias']
    """
    return join_projections(tensors)


def fuse_kv(tensors: Tensors, _model: nn.Module) -> Tensors:
    """Joins the projections to keys and values; that to queries stays apart.

    Args:
        tensors: weights by name.

    Returns:
        The weights with `kv` in place of `k` and `v`.

    Example:
        >>> parts = {f"mixer.{letter}.bias": torch.zeros(2) for letter in "qkv"}
        >>> sorted(fuse_kv(parts, nn.Identity()))
        ['mixer.kv.bias', 'mixer.q.bias']
    """
    return join_projections(tensors, "kv")


def batch_positions(tensors: Tensors, _model: nn.Module) -> Tensors:
    """Gives a table of positions (N, D) the batch axis of `PositionTable`.

    Args:
        tensors: weights by name, with `position.weight`.

    Returns:
        The weights with `position.weight` of shape (1, N, D).

    Example:
        >>> tensors = {"position.weight": torch.zeros(5, 8)}
        >>> batch_positions(tensors, nn.Identity())["position.weight"].shape
        torch.Size([1, 5, 8])
    """
    table = tensors["position.weight"]
    return {**tensors, "position.weight": table if table.ndim == 3 else table[None]}
