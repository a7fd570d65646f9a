"""Whether weights and settings belong together, before a folder is written and when it is read."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import nn

from vitrail.errors import ConfigError, LoadError, VitrailError
from vitrail.hub.rename import Tensors
from vitrail.models.base import Backbone

# private: names under which torch.compile, activation checkpointing and FSDP keep a module. A
# compiled block could not be saved without them (tests/hub/test_fitting.py).
WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module.")
SMALLEST_LIMIT = 2**16  # a setting below it needs no weights of that size, such as `image_size`


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside torch.compile, DataParallel, DistributedDataParallel or AveragedModel.

    Args:
        model: any module.

    Returns:
        The innermost module that one of these wraps; `model` itself if none does.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=1, mlp_dim=8)
        >>> unwrapped(nn.DataParallel(torch.compile(model))) is model
        True
    """
    while not isinstance(model, Backbone):
        inner = getattr(model, "_orig_mod", None) or getattr(model, "module", None)
        if not isinstance(inner, nn.Module):
            break
        model = inner
    return model


def fitting_state(
    module: nn.Module,
    twin: nn.Module,
    what: str,
    is_saved: Callable[[str], bool] = lambda _name: True,
) -> Tensors:
    """The weights of a module, if one that is built anew could load them and compute the same.

    Args:
        module: the module to save.
        twin: one built from its settings, such as on the meta device.
        what: what both are, for the error.
        is_saved: function of a name that says whether it is saved; others are left out.

    Returns:
        Tensors by name, copies on the CPU.

    Raises:
        ConfigError: a submodule or a weight was replaced, added or removed, or has no values.

    Example:
        >>> sorted(fitting_state(nn.Linear(2, 1), nn.Linear(2, 1, device="meta"), "a layer"))
        ['bias', 'weight']
        >>> fitting_state(nn.Linear(2, 3), nn.Linear(2, 1, device="meta"), "a layer")
        Traceback (most recent call last):
        vitrail.errors.ConfigError: weight is (3, 2), and in a layer built anew from its ...
    """
    state = {_without_wrappers(name): tensor for name, tensor in module.state_dict().items()}
    own, expected = (
        {name: tensor for name, tensor in each.items() if is_saved(name)}
        for each in (state, twin.state_dict())
    )
    for name in [*expected, *own]:
        shape, expected_shape = (
            str(tuple(state[name].shape)) if name in state else "missing"
            for state in (own, expected)
        )
        if shape != expected_shape:
            raise ConfigError(_problem(name, shape, expected_shape, what, own))
    modules = {_without_wrappers(path): each for path, each in module.named_modules()}
    for path, each in twin.named_modules():
        if path and not is_saved(path):
            continue
        kinds = type(modules.get(path)), type(each)
        if not (issubclass(kinds[0], kinds[1]) or issubclass(kinds[1], kinds[0])):
            raise ConfigError(_problem(path, kinds[0].__name__, kinds[1].__name__, what, own))
    if any(tensor.is_meta for tensor in own.values()):
        raise ConfigError(f"{what} on the meta device has no weights: load them before saving.")
    # Copies, because tensors that share memory cannot be written beside each other.
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in own.items()
    }


def build(
    model: Callable[..., Backbone], keywords: Mapping[str, object], weights: Tensors, source: Path
) -> Backbone:
    """Builds a model on the meta device for weights that were read, without allocating anything.

    Args:
        model: its class.
        keywords: keywords of the constructor, as a file has them.
        weights: the weights, which bound what the keywords may be.
        source: the file with the keywords, for the error.

    Returns:
        The model, without values.

    Raises:
        LoadError: the keywords describe a model far larger than the weights, or none.

    Example:
        >>> build(vitrail.ViT, {"depth": 10**9}, {}, Path("config.json"))
        Traceback (most recent call last):
        vitrail.errors.LoadError: config.json: depth=1000000000 is more than its 0 weights allow.
    """
    limit = max(SMALLEST_LIMIT, sum(tensor.numel() for tensor in weights.values()))
    for name, value in keywords.items():
        numbers = value if isinstance(value, list | tuple) else [value]
        total = sum(n for n in numbers if isinstance(n, int))
        if name.endswith("depth") and total > len(weights):
            raise LoadError(
                f"{source}: {name}={value} is more than its {len(weights)} weights allow."
            )
        if any(isinstance(n, int) and n > limit for n in numbers):
            raise LoadError(
                f"{source}: {name}={value} is more than weights of {limit} numbers allow."
            )
    with reading(source), torch.device("meta"):
        return model(**keywords)


@contextlib.contextmanager
def reading(source: Path) -> Iterator[None]:
    """A context in which what another program wrote is interpreted.

    Args:
        source: the file, for the error.

    Returns:
        A context manager that raises `LoadError` for whatever error of Python a wrong value, type
        or missing entry leads to.

    Example:
        >>> with reading(Path("config.json")):
        ...     {}["hidden_size"]
        Traceback (most recent call last):
        vitrail.errors.LoadError: config.json cannot be understood: KeyError: 'hidden_size'.
    """
    try:
        yield
    except VitrailError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as e:
        text = (str(e).strip().splitlines() or [""])[0]
        raise LoadError(f"{source} cannot be understood: {type(e).__name__}: {text}.") from e


def _without_wrappers(name: str) -> str:
    name += "."
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name[:-1]


# What changes the names of weights, by a part of the new names.
CURES = {
    "_orig": "end the pruning by torch.nn.utils.prune.remove",
    ".parametrizations.": "end it by torch.nn.utils.parametrize.remove_parametrizations",
    "._packed_params": "save the model before it is quantized",
    ".lora_A.": "merge the adapters by vitrail.train.merge",
}


def _problem(name: str, own: str, expected: str, what: str, state: Tensors) -> str:
    cure = "register a class of your own that is built with it, or save its state_dict"
    names = [key for key in state if key.startswith(name.rpartition(".")[0])]
    cures = [CURES[part] for part in CURES if any(part in key for key in names)]
    if cures:
        cure = cures[0]
    elif name.partition(".")[0] == "head":
        cure = "replace a head by model.reset_head(num_classes)"
    return (
        f"{name} is {own}, and in {what} built anew from its settings {expected}, so that what is "
        f"saved could not be loaded: {cure}."
    )
