"""Weights of the official Vision Mamba code (github.com/hustvl/Vim at dd0358a, February 2025).

`from_official` reads any, with the keywords of the official constructor. `convert` reads the
published files, which have no keywords beside them. What differs:

- `if_bidirectional` leaves the last layer of an odd depth unused: it is left out here.
- `if_divide_out` (until June 2024 `if_devide_out`; both are read) halves the sum of the two
  directions, of v2 only.
- The first release (January 2024) has a class token at the head, rotary positions that rotate the
  residual too, and no division. Its constructor had other defaults: bimamba_type "none", no class
  token, no position table, no division, LayerNorm. Give every flag.
- Rotary positions beside a class token in the middle take the first patch for it, and rotate every
  patch by its neighbor's position. That is not copied: `keywords` warns.
- Positions have their rows in the order of the sequence; here rows of class tokens come first.
"""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vitrail.arguments import checked
from vitrail.errors import ConfigError, LoadError, check_choice, suggest
from vitrail.hub.converters._vim_names import POSITIONS, check_official, layers_of, official_views
from vitrail.models.base import Backbone
from vitrail.models.vim import VisionMamba
from vitrail.models.vim_official import OfficialVisionMamba
from vitrail.preprocess import Preprocess
from vitrail.values import check_value

NAME = "official Vision Mamba"

# Keywords of the official constructor with today's defaults, and two flags of its forward.
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
# Keywords of the mixer that do not change what it computes.
SSM_IGNORED = {
    "conv_bias", "dt_min", "dt_max", "dt_init", "dt_scale", "dt_init_floor", "layer_idx",
    "device", "dtype",
}  # fmt: skip
MISFIT = "the state dict does not fit the keywords"


def recognizes(tensors: Mapping[str, Tensor]) -> bool:
    """Whether tensors have the names of the official code.

    Args:
        tensors: tensors by name.

    Returns:
        True for weights of the official Vision Mamba.

    Example:
        >>> recognizes({"cls_token": torch.zeros(1)})
        False
    """
    return "layers.0.mixer.A_log" in tensors and "patch_embed.proj.weight" in tensors


def convert(tensors: Mapping[str, Tensor]) -> Backbone:
    """Builds the model of a published checkpoint.

    Args:
        tensors: weights by their official names.

    Returns:
        The model in eval mode.

    Raises:
        LoadError: the weights are not those of a published Vision Mamba.

    Example:
        >>> model = VisionMamba(224, 112, num_classes=2, dim=8, depth=1).eval()
        >>> convert(official_state_dict(model)).grid
        (2, 2)
    """
    model = from_official(tensors, **guess(tensors))
    # Their authors evaluate on images resized to 256 pixels at the short side, cropped to 224.
    model.preprocess = Preprocess(size=(model.image_size[0], model.image_size[1]), resize=256)
    return model


@checked
def from_official(state_dict: Mapping[str, object], **official: object) -> VisionMamba:
    """Builds the model of an official state dict.

    Args:
        state_dict: weights by their official names, `checkpoint["model"]`.
        official: keywords of the official constructor, as the weights were made with. The defaults
            are those of today's code; the first release had others. The flags of its forward,
            `if_random_cls_token_position` and `if_random_token_rank`, may be given too.

    Returns:
        The model in eval mode: a `VisionMamba`, or an `OfficialVisionMamba` where the keywords ask
        for what only the official code does.

    Raises:
        ConfigError: a keyword is unknown, or keywords contradict each other.
        LoadError: the keywords do not describe the state dict.

    Example:
        >>> weights = official_state_dict(VisionMamba(32, 16, num_classes=2, dim=8, depth=2))
        >>> shape = {"img_size": 32, "num_classes": 2, "embed_dim": 8, "depth": 2}
        >>> from_official(weights, **shape).pool_kind
        'cls_middle'
    """
    weights = dict[str, Tensor]()
    for name, tensor in state_dict.items():
        if not isinstance(tensor, Tensor):
            raise LoadError(
                f"{name!r} is no tensor: give the weights alone, which are checkpoint['model']."
            )
        weights[name] = tensor
    options = keywords(official)
    additions = {name: options.pop(name) for name in ("pairs", "flip", "shuffle")}
    if any(additions.values()) or options["scan"] == "v1" or options["pool"] == "cls_random":
        model: VisionMamba = OfficialVisionMamba(**options, **additions)
    else:
        model = VisionMamba(**options)
    _copy(model, weights, official)
    return model.eval()


def keywords(official: Mapping[str, Any]) -> dict[str, Any]:
    """Translates keywords of the official constructor.

    Args:
        official: keywords of the official constructor.

    Returns:
        Keywords of `OfficialVisionMamba`.

    Raises:
        ConfigError: a keyword is unknown, or keywords contradict each other.

    Example:
        >>> keywords({"embed_dim": 384, "if_divide_out": False})["fusion"]
        'sum'
    """
    flags = _flags(official)
    ssm = _ssm(flags["ssm_cfg"])
    kind = {"none": "forward", None: "forward"}.get(flags["bimamba_type"], flags["bimamba_type"])
    kind = "v1" if flags["if_bimamba"] else kind
    check_choice("bimamba_type", kind, ("forward", "v1", "v2"))
    summed = kind == "v1" or (kind == "v2" and not flags["if_divide_out"])
    depth, drop_path = flags["depth"], flags["drop_path_rate"]
    ratio = check_value("flip_img_sequences_ratio", flags["flip_img_sequences_ratio"], float)
    if flags["if_bidirectional"] and depth % 2:
        # The last layer is never used; the rates of the others stay.
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
        "position": "learned" if flags["if_abs_pos_embed"] else "none",
        "rope": _rope(flags),
        "stride": None if flags["stride"] == flags["patch_size"] else flags["stride"],
        "scan": kind,
        "fusion": "sum" if summed else "mean",
        "pairs": flags["if_bidirectional"],
        "bias": ssm["bias"],
        "d_state": flags["d_state"],
        "d_conv": ssm["d_conv"],
        "expand": ssm["expand"],
        "dt_rank": None if ssm["dt_rank"] == "auto" else ssm["dt_rank"],
        "norm": "rms" if flags["rms_norm"] else "layer",
        "layer_scale": flags["init_layer_scale"],
        "flip": min(max(ratio, 0.0), 1.0),
        "shuffle": float(flags["if_random_token_rank"]),
    }


def _flags(official: Mapping[str, Any]) -> dict[str, Any]:
    """All official keywords, defaults included."""
    flags = dict(official)
    if "if_devide_out" in flags:
        old = flags.pop("if_devide_out")
        if flags.setdefault("if_divide_out", old) != old:
            raise ConfigError("if_divide_out and if_devide_out, its old spelling, disagree.")
    for name in flags:
        if name not in DEFAULTS:
            raise ConfigError(
                f"the official VisionMamba has no keyword {name!r}.{suggest(name, DEFAULTS)}"
            )
    no_v1 = flags.get("bimamba_type", "v1") != "v1"
    flags = {**DEFAULTS, **flags}
    class_token = flags["if_cls_token"]
    contradictions = {
        "if_rope_residual needs if_rope": flags["if_rope_residual"] and not flags["if_rope"],
        "use_double_cls_token needs if_cls_token": flags["use_double_cls_token"]
        and not class_token,
        "if_random_cls_token_position needs use_middle_cls_token=False, which wins over it": (
            flags["if_random_cls_token_position"] and flags["use_middle_cls_token"]
        ),
        "if_bimamba means bimamba_type='v1'": flags["if_bimamba"] and no_v1,
        "final_pool_type='max' needs if_cls_token=False": (
            class_token and flags["final_pool_type"] == "max"
        ),
        "norm_epsilon other than 1e-5 is not supported": flags["norm_epsilon"] != 1e-5,
        "pt_hw_seq_len other than 14 is not supported": (
            flags["if_rope"] and flags["pt_hw_seq_len"] != 14
        ),
    }
    for problem, applies in contradictions.items():
        if applies:
            raise ConfigError(f"{problem}.")
    return flags


def _ssm(config: Mapping[str, Any] | None) -> dict[str, Any]:
    config = dict(config or {})
    if config.pop("use_fast_path", True) is False:
        raise ConfigError(
            "use_fast_path=False silently drops the scan from the end: give bimamba_type='none'."
        )
    for name in config.keys() - SSM_DEFAULTS.keys() - SSM_IGNORED:
        raise ConfigError(f"the official mixer's {name!r} in ssm_cfg is not supported.")
    return {**SSM_DEFAULTS, **config}


def _pool(flags: Mapping[str, Any]) -> str:
    kind = flags["final_pool_type"]
    check_choice("final_pool_type", kind, ("none", "mean", "max", "all"))
    if not flags["if_cls_token"]:
        return {"none": "last"}.get(kind, kind)
    if flags["use_double_cls_token"]:
        return "cls_both"
    if flags["use_middle_cls_token"]:
        return "cls_middle"
    return "cls_random" if flags["if_random_cls_token_position"] else "cls_head"


def _rope(flags: Mapping[str, Any]) -> str:
    if not flags["if_rope"]:
        return "none"
    if _pool(flags) == "cls_middle":
        warnings.warn(
            "the official code rotates patches by their neighbors' positions beside a class token "
            "in the middle; here each has its own, so such weights give other results."
        )
    return "residual" if flags["if_rope_residual"] else "branch"


@checked
def official_state_dict(model: VisionMamba) -> dict[str, Tensor]:
    """The weights of a model under their official names.

    Args:
        model: a Vision Mamba.

    Returns:
        Tensors by official name, positions in the order of the sequence.

    Raises:
        ConfigError: the official code computes something else with these weights.

    Example:
        >>> model = VisionMamba(32, 16, num_classes=2, dim=8, depth=1)
        >>> official_state_dict(model)["pos_embed"].shape
        torch.Size([1, 5, 8])
    """
    weights = official_views(model)
    check_official(model, weights)
    if POSITIONS in weights:
        weights[POSITIONS] = weights[POSITIONS][:, model.order(math.prod(model.grid))]
    return weights


def _copy(model: VisionMamba, weights: Mapping[str, Tensor], official: Mapping[str, Any]) -> None:
    """Copies an official state dict into a model; raises `LoadError` for what does not fit."""
    rest = {n: t for n, t in weights.items() if not n.startswith("rope.")}
    if _flags(official)["if_bidirectional"]:
        unused = f"layers.{len(layers_of(model))}."
        rest = {n: t for n, t in rest.items() if not n.startswith(unused)}
    with torch.no_grad():
        for name, target in official_views(model).items():
            tensor = rest.pop(name, None)
            if tensor is None and name.endswith(("conv1d.bias", "conv1d_b.bias")):
                target.zero_()  # conv_bias=False
                continue
            if tensor is None or tensor.shape != target.shape:
                problem = "is missing" if tensor is None else f"has shape {tuple(tensor.shape)}"
                expected = tuple(target.shape)
                raise LoadError(f"{MISFIT}: {name} {problem}, where {expected} is expected.")
            if name == POSITIONS:
                tensor = tensor[:, model.order(math.prod(model.grid)).argsort()]
            target.copy_(tensor)
    if rest:
        raise LoadError(f"{MISFIT}: {min(rest)} is not among the model's.")


def guess(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Reads the keywords of a published checkpoint off its weights.

    The first release (January 2024) is told by its rotary positions. All published checkpoints are
    for images of 224 pixels.

    Args:
        weights: weights by their official names.

    Returns:
        Keywords of the official constructor.

    Raises:
        LoadError: the weights are not those of a published Vision Mamba.

    Example:
        >>> model = VisionMamba(224, 112, num_classes=2, dim=8, depth=1)
        >>> guess(official_state_dict(model))["embed_dim"]
        8
    """
    try:
        dim, channels, patch, _ = weights["patch_embed.proj.weight"].shape
        side = math.isqrt(weights[POSITIONS].shape[1] - 1)
        inner, d_state = weights["layers.0.mixer.A_log"].shape
        weights["layers.0.mixer.conv1d_b.weight"]
    except KeyError as missing:
        raise LoadError(
            f"no {missing.args[0]} among the weights: this is no published Vision Mamba. "
            "vitrail.hub.converters.vision_mamba.from_official takes any, with its keywords."
        ) from None
    stride, rest = divmod(224 - patch, side - 1) if side > 1 else (patch, 0)
    if rest or stride > patch:
        raise LoadError(
            f"positions of {side} x {side} patches of {patch} pixels are of no image of 224 pixels:"
            " vitrail.hub.converters.vision_mamba.from_official takes any, with its keywords."
        )
    first_release = any(name.startswith("rope.") for name in weights)
    depth = 1 + max(int(n.split(".")[1]) for n in weights if n.startswith("layers."))
    return {
        "img_size": 224,
        "patch_size": patch,
        "stride": stride,
        "depth": depth,
        "embed_dim": dim,
        "d_state": d_state,
        "channels": channels,
        "num_classes": len(weights["head.bias"]) if "head.bias" in weights else 0,
        "ssm_cfg": {"expand": inner // dim},
        "drop_path_rate": 0.0,
        "rms_norm": "norm_f.bias" not in weights,
        "if_rope": first_release,
        "if_rope_residual": first_release,
        "use_middle_cls_token": not first_release,
        "if_divide_out": not first_release,
    }
