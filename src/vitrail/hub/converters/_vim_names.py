"""Parameters of a Vision Mamba under their official names, and what the official code lacks."""

from collections.abc import Mapping

from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.mamba_block import MambaBranch, MambaPair
from vitrail.models.vim import VisionMamba
from vitrail.models.vim_official import OfficialMambaPair

POSITIONS = "pos_embed"
# Our parameters, stacked by direction, and the official names of the directions.
STACKED = {
    "conv_weight": ("conv1d.weight", "conv1d_b.weight"),
    "conv_bias": ("conv1d.bias", "conv1d_b.bias"),
    "x_proj": ("x_proj.weight", "x_proj_b.weight"),
    "dt_weight": ("dt_proj.weight", "dt_proj_b.weight"),
    "dt_bias": ("dt_proj.bias", "dt_proj_b.bias"),
    "A_log": ("A_log", "A_b_log"),
    "D": ("D", "D_b"),
}


def layers_of(model: VisionMamba) -> list[MambaBranch]:
    """The layers in their official order, pairs resolved."""
    return [module for module in model.blocks.modules() if isinstance(module, MambaBranch)]


def check_official(model: VisionMamba, weights: Mapping[str, Tensor]) -> None:
    """Raises `ConfigError` for a model that the official code does not compute."""
    mixers = [layer.mixer for layer in layers_of(model)]
    pairs = [module for module in model.modules() if isinstance(module, MambaPair)]
    others = sum(p.numel() for p in model.parameters()) - sum(t.numel() for t in weights.values())
    reasons = {
        f"{others:,} of its numbers, such as of a gate, an adapter or another head": others,
        'fusion="concat"': any(mixer.fusion == "concat" for mixer in mixers),
        'scan="v1" without fusion="sum"': any(
            mixer.scan_kind == "v1" and mixer.fusion != "sum" for mixer in mixers
        ),
        "share_pairs=True": any(pair.second is None for pair in pairs),
        'pairs="sum", where OfficialVisionMamba counts the residual twice': not all(
            isinstance(pair, OfficialMambaPair) for pair in pairs
        ),
    }
    for reason, applies in reasons.items():
        if applies:
            raise ConfigError(
                f"the official code does not have what this model has, {reason}: keep the model by "
                "vitrail.save."
            )


def official_views(model: VisionMamba) -> dict[str, Tensor]:
    """Views of a model's parameters by official name; rows of positions in our order."""
    views: dict[str, Tensor] = {
        "patch_embed.proj.weight": model.patch_embed.weight,
        **_named("patch_embed.proj", model.patch_embed, "bias"),
        **_named("norm_f", model.norm, "weight", "bias"),
        **_named("head", model.head, "weight", "bias"),
    }
    if model.class_token is not None:
        names = ["cls_token"] if model.prefix == 1 else ["cls_token_head", "cls_token_tail"]
        views |= dict(zip(names, model.class_token.weight.split(1, dim=1), strict=True))
    if model.position is not None:
        views[POSITIONS] = model.position.weight
    for i, layer in enumerate(layers_of(model)):
        mixer = layer.mixer
        views |= _named(f"layers.{i}.norm", layer.norm, "weight", "bias")
        views |= _named(f"layers.{i}.mixer", layer.scale, "gamma")
        views |= _named(f"layers.{i}.mixer.in_proj", mixer.in_proj, "weight", "bias")
        views |= _named(f"layers.{i}.mixer.out_proj", mixer.out_proj, "weight", "bias")
        for ours, by_direction in STACKED.items():
            for name, view in zip(by_direction, getattr(mixer, ours).unbind(), strict=False):
                # A depthwise convolution has an axis of one input channel.
                view = view.unsqueeze(1) if ours == "conv_weight" else view
                views[f"layers.{i}.mixer.{name}"] = view
    return {name: view.detach() for name, view in views.items()}


def _named(prefix: str, module: nn.Module, *names: str) -> dict[str, Tensor]:
    """Those of the named parameters that a module has, with a prefix before their names."""
    parameters = {f"{prefix}.{name}": getattr(module, name, None) for name in names}
    return {name: p for name, p in parameters.items() if p is not None}
