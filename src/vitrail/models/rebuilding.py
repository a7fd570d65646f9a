"""Whether a model is still what its config describes, before it is built anew from that."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError

# private: names under which torch.compile, activation checkpointing and FSDP keep a module. A
# compiled block could not be saved without them (tests/hub/test_fitting.py).
WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module.")
# Attributes of modules that do not change what a model computes in evaluation.
TRAINING = ("training", "backend", "rate", "p", "dropout", "momentum", "inplace", "undecayed",
            "gradient_recorders", "gradient_checkpointing", "initial", "std", "seed")  # fmt: skip
# What changes the names of weights, by a part of the new names.
CURES = {
    "_mask": "end the pruning by torch.nn.utils.prune.remove",
    "_orig": "end it by torch.nn.utils.remove_spectral_norm",
    "_g": "end it by torch.nn.utils.remove_weight_norm",
    ".parametrizations.": "end it by torch.nn.utils.parametrize.remove_parametrizations",
    "._packed_params": "use the model before it is quantized",
    ".halved.": "use the model before it is halved",
    ".lora_A.": "merge the adapters by vitrail.train.merge",
}


def rebuildable_state(
    module: nn.Module,
    twin: nn.Module,
    what: str,
    consequence: str,
    *,
    is_saved: Callable[[str], bool] = lambda _name: True,
) -> dict[str, Tensor]:
    """The state dict of a module, if one that is built anew with it computes the same.

    Args:
        module: any module.
        twin: one built from its settings, such as on the meta device.
        what: what both are, for the error.
        consequence: what is not possible where they differ, for the error.
        is_saved: function of a name that says whether it counts; others are left out.

    Returns:
        Tensors by name, without the names of compilers and other wrappers.

    Raises:
        ConfigError: a submodule or a weight was replaced, added or removed, or has no values.

    Example:
        >>> twin = nn.Linear(2, 1, device="meta")
        >>> sorted(rebuildable_state(nn.Linear(2, 1), twin, "a layer", "it is lost"))
        ['bias', 'weight']
        >>> rebuildable_state(nn.Linear(2, 3), twin, "a layer", "it is lost")
        Traceback (most recent call last):
        vitrail.errors.ConfigError: weight is (3, 2), and in a layer built anew from its ...
    """
    state = {without_wrappers(name): tensor for name, tensor in module.state_dict().items()}
    own, expected = (
        {name: tensor for name, tensor in each.items() if is_saved(name)}
        for each in (state, twin.state_dict())
    )
    modules = {
        without_wrappers(path): each for path, each in module.named_modules(remove_duplicate=False)
    }

    def require_same(name: str, value: str, expected_value: str) -> None:
        if value != expected_value:
            raise ConfigError(
                f"{name} is {value}, and in {what} built anew from its settings {expected_value}, "
                f"so that {consequence}: {_cure(name, own, modules)}."
            )

    for name in [*expected, *own]:
        sizes = (str(tuple(s[name].shape)) if name in s else "missing" for s in (own, expected))
        require_same(name, *sizes)
    for path, each in twin.named_modules(remove_duplicate=False):
        kinds = type(modules.get(path)), type(each)
        if (path and not is_saved(path)) or nn.SyncBatchNorm in kinds:
            continue
        if not (issubclass(kinds[0], kinds[1]) or issubclass(kinds[1], kinds[0])):
            require_same(path, kinds[0].__name__, kinds[1].__name__)
        if path and kinds[0] is kinds[1]:
            values, expected_values = map(_settings, (modules[path], each))
            for key in values.keys() & expected_values.keys():
                require_same(f"{path}.{key}", repr(values[key]), repr(expected_values[key]))
    for name, tensor in own.items():
        if tensor.layout is not torch.strided:
            raise ConfigError(f"{name} is sparse: replace it with its to_dense().")
    return own


def resampled_state(module: nn.Module, other: nn.Module) -> dict[str, Tensor] | None:
    """The state dict of a module for another grid.

    Args:
        module: a model whose tables of positions have the method `resampled_to`.
        other: the same built for another image size.

    Returns:
        Tensors by name, tables of positions resampled; None if there are no tables.

    Example:
        >>> sizes = (8, 16)
        >>> model, other = (vitrail.ViT(s, 4, 2, dim=8, depth=1, heads=1, mlp_dim=8) for s in sizes)
        >>> resampled_state(model, other)["position.weight"].shape
        torch.Size([1, 17, 8])
    """
    twins = dict(other.named_modules())
    resampled = {
        f"{path}.{name}".lstrip("."): tensor
        for wrapped_path, submodule in module.named_modules()
        if (path := without_wrappers(wrapped_path)) in twins
        if (resample := getattr(submodule, "resampled_to", None)) is not None
        for name, tensor in resample(twins[path]).items()
    }
    state = {without_wrappers(name): tensor for name, tensor in module.state_dict().items()}
    return {**state, **resampled} if resampled else None


def without_wrappers(name: str) -> str:
    """The name of a module or a weight without those of compilers and other wrappers.

    Args:
        name: its path.

    Returns:
        The path in the model that is wrapped.

    Example:
        >>> without_wrappers("blocks.0._orig_mod.norm1")
        'blocks.0.norm1'
    """
    name += "."
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name[:-1]


def _settings(module: nn.Module) -> dict[str, object]:
    """What a module computes with beside its weights, but for what training alone uses."""
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, bool | int | float | str | tuple | None)
        and not name.startswith("_")
        and name not in TRAINING
    }


def _cure(name: str, state: dict[str, Tensor], modules: dict[str, nn.Module]) -> str:
    """What to do about a weight or a module that is not as its config says."""
    path = max((p for p in modules if name.startswith(f"{p}.")), key=len, default="")
    names = [key for key in state if key.startswith(f"{path}.")]
    for part, cure in CURES.items():
        if any(key.endswith(part) or (part.startswith(".") and part in key) for key in names):
            return cure
    if type(modules.get(path)) is nn.Identity:
        return "use the model before it is fused"
    if f"{name}.".startswith("head."):
        return "replace a head by model.reset_head(num_classes)"
    return "register a class of your own that is built with it, or save its state_dict"
