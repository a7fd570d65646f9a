"""The official Vision Mamba code's keywords and weights, as those of `vim.py`.

Read off github.com/hustvl/Vim at dd0358a (February 2025). Its quirks that change results:

- `if_bidirectional` counts the residual twice in each pair of layers ("+doubled"), and leaves the
  last layer of an odd depth unused: it is left out here.
- Stochastic depth drops what enters a layer, and once more what enters the last norm: the same
  rates here, counted from the layer they come out of.
- `if_divide_out` (until June 2024 `if_devide_out`; both are read) halves the sum of two directions,
  of v2 only ("+mean"); without it, "+sum".
- v1 lets the second direction scan the first one's convolution, and shares all but A with it.
- v1's backward pass computes the gate's gradient for both directions and returns the first one's
  ("+firstgate"): `dz` is rebound to the sum, where the buffer of `dxz` was meant.
- The first release (January 2024) has a class token at the head, rotary positions that turn the
  residual too, and no division. Its constructor's defaults were other ones: bimamba_type "none",
  no class token, no position table, no division, LayerNorm. Give every flag.
- Rotary positions beside a class token in the middle take the first patch for it and turn every
  patch by its neighbour's place. That is not kept: `keywords` warns.
- Flips happen in evaluation too; here in training only. Orders are drawn from Python's and torch's
  global generators there, from the model's here.
"""

import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError, LoadError, check_choice, suggest
from vitrail.layers.mamba_block import MambaBlock, PairedBlocks

# The constructor's keywords with today's defaults, and two flags of its forward.
DEFAULTS: dict[str, Any] = {
    "img_size": 224, "patch_size": 16, "stride": 16, "depth": 24, "embed_dim": 192, "d_state": 16,
    "channels": 3, "num_classes": 1000, "ssm_cfg": None, "drop_rate": 0.0, "drop_path_rate": 0.1,
    "norm_epsilon": 1e-5, "rms_norm": True, "initializer_cfg": None, "fused_add_norm": True,
    "residual_in_fp32": True, "device": None, "dtype": None, "ft_seq_len": None,
    "pt_hw_seq_len": 14, "if_bidirectional": False, "final_pool_type": "none",
    "if_abs_pos_embed": True, "if_rope": False, "if_rope_residual": False,
    "flip_img_sequences_ratio": -1.0, "if_bimamba": False, "bimamba_type": "v2",
    "if_cls_token": True, "if_divide_out": True, "init_layer_scale": None,
    "use_double_cls_token": False, "use_middle_cls_token": True,
    "if_random_cls_token_position": False, "if_random_token_rank": False,
}  # fmt: skip
SSM_DEFAULTS = {"d_conv": 4, "expand": 2, "dt_rank": "auto", "bias": False}
# Of the mixer's keywords, those that only say how to start, or how to store.
SSM_IGNORED = {
    "conv_bias", "dt_min", "dt_max", "dt_init", "dt_scale", "dt_init_floor", "layer_idx",
    "device", "dtype",
}  # fmt: skip


def keywords(official: Mapping[str, Any]) -> dict[str, Any]:
    """The official constructor's keywords as `VisionMamba`'s.

    Raises `ConfigError` for an unknown one, and for those that contradict each other.
    """
    flags = _flags(official)
    ssm = _ssm(flags["ssm_cfg"])
    kind = {"none": "forward", None: "forward"}.get(flags["bimamba_type"], flags["bimamba_type"])
    kind = "v1" if flags["if_bimamba"] else kind
    check_choice("bimamba_type", kind, ("forward", "v1", "v2"))
    mixer = kind
    if kind == "v2":
        mixer += "+mean" if flags["if_divide_out"] else "+sum"
    elif kind == "v1":
        mixer += "+sum+firstgate"
    depth, drop_path = flags["depth"], flags["drop_path_rate"]
    if flags["if_bidirectional"]:
        mixer += "+paired+doubled"
        if depth % 2:  # the last layer is never used; the rates of the others stay
            drop_path *= max(depth - 2, 0) / max(depth - 1, 1)
            depth -= 1
    return {
        "image_size": flags["img_size"],
        "patch_size": flags["patch_size"],
        "num_classes": flags["num_classes"],
        "dim": flags["embed_dim"],
        "depth": depth,
        "channels": flags["channels"],
        "pool": _pool(flags),
        "emb_dropout": flags["drop_rate"] if flags["if_abs_pos_embed"] else 0.0,
        "drop_path": drop_path,
        "position": _position(flags),
        "stride": None if flags["stride"] == flags["patch_size"] else flags["stride"],
        "mixer": mixer + ("+bias" if ssm["bias"] else ""),
        "norm": "rms" if flags["rms_norm"] else "layer",
        "layer_scale": flags["init_layer_scale"],
        "ssm": (
            flags["d_state"],
            ssm["d_conv"],
            ssm["expand"],
            0 if ssm["dt_rank"] == "auto" else ssm["dt_rank"],
        ),
        "augment": (
            max(flags["flip_img_sequences_ratio"], 0.0),
            float(flags["if_random_token_rank"]),
        ),
    }


def _flags(official: Mapping[str, Any]) -> dict[str, Any]:
    given = dict(official)
    if "if_devide_out" in given:
        old = given.pop("if_devide_out")
        if given.setdefault("if_divide_out", old) != old:
            raise ConfigError("if_divide_out and if_devide_out, its old spelling, disagree.")
    for name in given:
        if name not in DEFAULTS:
            raise ConfigError(
                f"the official VisionMamba has no keyword {name!r}.{suggest(name, DEFAULTS)}"
            )
    flags = {**DEFAULTS, **given}
    contradictions = {
        "if_rope_residual needs if_rope": flags["if_rope_residual"] and not flags["if_rope"],
        "use_double_cls_token needs if_cls_token": (
            flags["use_double_cls_token"] and not flags["if_cls_token"]
        ),
        "if_random_cls_token_position needs use_middle_cls_token=False, which wins over it": (
            flags["if_random_cls_token_position"] and flags["use_middle_cls_token"]
        ),
        "if_bimamba means bimamba_type='v1'": (
            flags["if_bimamba"] and given.get("bimamba_type", "v1") != "v1"
        ),
        "final_pool_type='max' needs if_cls_token=False": (
            flags["final_pool_type"] == "max" and flags["if_cls_token"]
        ),
        "norm_epsilon other than 1e-5 is not supported": flags["norm_epsilon"] != 1e-5,
        "pt_hw_seq_len other than 14 is not supported": (
            flags["if_rope"] and flags["pt_hw_seq_len"] != 14
        ),
    }
    for problem, there in contradictions.items():
        if there:
            raise ConfigError(f"{problem}.")
    return flags


def _ssm(given: Mapping[str, Any] | None) -> dict[str, Any]:
    given = dict(given or {})
    if given.pop("use_fast_path", True) is False:
        raise ConfigError(
            "use_fast_path=False silently drops the backward direction in the official code: "
            'use the mixer "forward" if you want that.'
        )
    for name in given.keys() - SSM_DEFAULTS.keys() - SSM_IGNORED:
        raise ConfigError(f"the official mixer's {name!r} in ssm_cfg is not supported.")
    return {**SSM_DEFAULTS, **given}


def _pool(flags: Mapping[str, Any]) -> str:
    kind = flags["final_pool_type"]
    check_choice("final_pool_type", kind, ("none", "mean", "max", "all"))
    if not flags["if_cls_token"]:
        return {"none": "last"}.get(kind, kind)
    if flags["use_double_cls_token"]:
        return "cls-both"
    if flags["use_middle_cls_token"]:
        return "cls-middle"
    return "cls-random" if flags["if_random_cls_token_position"] else "cls-head"


def _position(flags: Mapping[str, Any]) -> str:
    parts = ["learned"] if flags["if_abs_pos_embed"] else []
    parts += ["rope"] if flags["if_rope"] else []
    parts += ["residual"] if flags["if_rope_residual"] else []
    if flags["if_rope"] and _pool(flags) == "cls-middle":
        warnings.warn(
            "the official code turns patches by their neighbours' places where the class token "
            "stands in the middle; here each turns by its own, so such weights give other results."
        )
    return "+".join(parts) or "none"


# Ours, stacked by direction, and the official names of the parts.
STACKED = {
    "conv_weight": ("conv1d.weight", "conv1d_b.weight"),
    "conv_bias": ("conv1d.bias", "conv1d_b.bias"),
    "x_proj": ("x_proj.weight", "x_proj_b.weight"),
    "dt_weight": ("dt_proj.weight", "dt_proj_b.weight"),
    "dt_bias": ("dt_proj.bias", "dt_proj_b.bias"),
    "A_log": ("A_log", "A_b_log"),
    "D": ("D", "D_b"),
}


_TWO = ["cls_token_head", "cls_token_tail"]
_CONV = ("conv1d.weight", "conv1d_b.weight")


def _places(model: nn.Module) -> Iterator[tuple[nn.Parameter, list[str]]]:
    """Every parameter and the official names of its parts, in their order."""
    for name, parameter in model.named_parameters():
        head = {
            "class_token": ["cls_token"] if parameter.shape[1:2] == (1,) else _TWO,
            "position": ["pos_embed"],
            "patch_embed.weight": ["patch_embed.proj.weight"],
            "patch_embed.bias": ["patch_embed.proj.bias"],
        }
        if not name.startswith("blocks."):
            yield parameter, head.get(name, [name.replace("norm.", "norm_f.")])
    for i, layer in enumerate(_layers(model)):
        for name, parameter in layer.named_parameters():
            part = name.removeprefix("mixer.")
            names = [name.replace("scale.gamma", "mixer.gamma")]
            if part in STACKED:
                names = [f"mixer.{n}" for n in STACKED[part][: len(parameter)]]
            yield parameter, [f"layers.{i}.{n}" for n in names]


def _layers(model: nn.Module) -> list[MambaBlock]:
    layers: list[MambaBlock] = []
    for block in model.blocks:  # type: ignore[union-attr]
        pair = [block.ahead, block.back] if isinstance(block, PairedBlocks) else [block]
        layers += [layer for layer in pair if layer is not None]
    return layers


def state_dict(model: nn.Module) -> dict[str, Tensor]:
    """A Vision Mamba's weights under the official names, to go back."""
    found: dict[str, Tensor] = {}
    for parameter, names in _places(model):
        value = parameter.detach()
        if names[0].rpartition("mixer.")[2] in {first for first, _ in STACKED.values()}:
            parts = list(value.unbind())
        else:
            parts = list(value.split(1, dim=1)) if names == _TWO else [value]
        for name, part in zip(names, parts, strict=True):
            found[name] = part.unsqueeze(1) if name.endswith(_CONV) else part
    return found


def fill(model: nn.Module, weights: Mapping[str, Tensor], official: Mapping[str, Any]) -> None:
    """Puts an official state dict into a model. Raises `LoadError` for what does not fit."""
    left = {n: t for n, t in weights.items() if not n.startswith("rope.")}
    if _flags(official)["if_bidirectional"]:
        unused = f"layers.{len(_layers(model))}."
        left = {n: t for n, t in left.items() if not n.startswith(unused)}
    with torch.no_grad():
        for name, target in state_dict(model).items():
            tensor = left.pop(name, None)
            if tensor is None and name.endswith(("conv1d.bias", "conv1d_b.bias")):
                target.zero_()  # conv_bias=False
                continue
            if tensor is None or tensor.shape != target.shape:
                found = "is missing" if tensor is None else f"has shape {tuple(tensor.shape)}"
                raise LoadError(
                    f"the state dict does not fit the keywords: {name} {found}, where "
                    f"{tuple(target.shape)} is expected."
                )
            target.copy_(tensor)
    if left:
        raise LoadError(f"the state dict does not fit the keywords: {min(left)} has no place.")


def guess(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The keywords of a published checkpoint, from its weights' names and shapes.

    There are two families: since February 2024 a class token in the middle and half the sum of both
    directions; before, one at the head, rotary positions, and the sum. Only images of 224 pixels.
    """
    try:
        dim, channels, patch, _ = weights["patch_embed.proj.weight"].shape
        side = math.isqrt(weights["pos_embed"].shape[1] - 1)
        inner, states = weights["layers.0.mixer.A_log"].shape
        weights["layers.0.mixer.conv1d_b.weight"]
    except KeyError as missing:
        raise LoadError(
            f"no {missing.args[0]} among the weights: this is no published Vision Mamba. "
            "VisionMamba.from_official takes any, with its keywords."
        ) from None
    first = any(name.startswith("rope.") for name in weights)
    depth = 1 + max(int(n.split(".")[1]) for n in weights if n.startswith("layers."))
    return {
        "img_size": 224,
        "patch_size": patch,
        "stride": (224 - patch) // (side - 1),
        "depth": depth,
        "embed_dim": dim,
        "d_state": states,
        "channels": channels,
        "num_classes": len(weights["head.bias"]) if "head.bias" in weights else 0,
        "ssm_cfg": {"expand": inner // dim},
        "drop_path_rate": 0.0,
        "rms_norm": "norm_f.bias" not in weights,
        "if_rope": first,
        "if_rope_residual": first,
        "use_middle_cls_token": not first,
        "if_divide_out": not first,
    }
