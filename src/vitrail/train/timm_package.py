"""timm, which is no dependency: imported where a setting asks for one of its models."""

import importlib
import sys
from types import ModuleType

import torch

from vitrail.errors import ConfigError, how_to_install
from vitrail.registry import describe_exception

# Compiled operators of torchvision whose shapes its Python part declares when it is imported.
OPERATORS = ("nms", "qnms")
_declarations: list[torch.library.Library] = []  # they last as long as their library


def import_timm(what: str) -> ModuleType:
    """Imports timm.

    timm imports torchvision, and torchvision fails where its compiled part is for another torch.
    No model of timm calls that part, so its operators are then declared without a kernel.

    Args:
        what: what needs timm, the beginning of a sentence.

    Returns:
        The package.

    Raises:
        ConfigError: timm is not installed, or cannot be imported.

    Example:
        >>> callable(import_timm)  # `train.baseline` calls it
        True
    """
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as problem:
        if problem.name in ("timm", "torchvision"):
            cure = how_to_install(problem.name)
            raise ConfigError(f"{what} needs the package {problem.name}: {cure}") from None
        raise _not_imported(what, problem) from None
    except RuntimeError as problem:
        if "torchvision::" not in str(problem) or _declarations:
            raise _not_imported(what, problem) from None
    for name in [name for name in sys.modules if name.partition(".")[0] in ("timm", "torchvision")]:
        del sys.modules[name]  # half imported
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in OPERATORS:
        library.define(f"{operator}(Tensor x) -> Tensor")
    _declarations.append(library)
    return import_timm(what)


def _not_imported(what: str, problem: Exception) -> ConfigError:
    return ConfigError(
        f"{what} needs timm, which cannot be imported: {describe_exception(problem)}. Install the "
        "release of torchvision that belongs to this torch."
    )
