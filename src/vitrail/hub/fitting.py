"""Whether weights and settings belong together, before a folder is written and when it is read."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import nn

from vitrail.errors import ConfigError, LoadError, VitrailError
from vitrail.hub.rename import Tensors
from vitrail.models.base import Backbone
from vitrail.models.rebuilding import rebuildable_state

PICKLES = (".bin", ".pth", ".pt")  # suffixes of weights that are pickled
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
    state = rebuildable_state(
        module, twin, what, "what is saved could not be loaded", is_saved=is_saved
    )
    if any(tensor.is_meta for tensor in state.values()):
        raise ConfigError(f"{what} on the meta device has no weights: load them before saving.")
    # Copies, because tensors that share memory cannot be written beside each other.
    return {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in state.items()
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


def require_labels(model: Backbone, classes: int) -> None:
    """Checks that a model has a name for each of its classes, if it has names.

    Args:
        model: any model.
        classes: number of its classes; 0 for a model without a head.

    Raises:
        ConfigError: it has more or fewer names.

    Example:
        >>> require_labels(vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=1, mlp_dim=8), 2)
    """
    if model.labels is not None and classes not in (0, len(model.labels)):
        raise ConfigError(
            f"the model has {len(model.labels)} labels and {classes} classes: set model.labels to "
            "one name per class, or to None."
        )


def cure_of(folder: Path) -> str:
    """What to do with a folder that has no config.json or no model.safetensors.

    Args:
        folder: the folder.

    Returns:
        A sentence with a leading space; "" where nothing in the folder suggests one.

    Example:
        >>> cure_of(Path("no such folder"))
        ''
    """
    if (folder / "adapter_config.json").is_file():
        return " It is an adapter of PEFT: save what PeftModel's merge_and_unload() returns."
    files = sorted(folder.glob("*"))
    pickles = sorted(
        (file.name for file in files if file.suffix in PICKLES),
        key=lambda name: "model" not in name,  # before optimizer.pt
    )
    if pickles:
        return f" It has {pickles[0]}: `vitrail convert {folder} NEW` rewrites it."
    if inner := [file for file in files if (file / "config.json").is_file()]:
        return f" {inner[-1]} is one: give that."
    if weights := [file for file in files if file.suffix == ".safetensors"]:
        if (folder / "config.json").is_file():
            return f" It has {weights[0].name}: name it model.safetensors."
        return f" It has {weights[0].name}: give that file."
    return ""
