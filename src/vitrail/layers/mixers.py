"""Token mixers of the user's own, for models that take any."""

import copy
from collections.abc import Callable
from typing import TypeVar

from torch import nn

from vitrail.errors import ConfigError, suggest
from vitrail.ops.guard import guarded
from vitrail.registry import Registry
from vitrail.values import PositiveInt

MixerFactory = Callable[[int], nn.Module]
Factory = TypeVar("Factory", bound=MixerFactory)

MIXERS: Registry[MixerFactory] = Registry(
    "mixer", {}, arguments=("dim",), decorator="vitrail.layers.register_mixer"
)


@guarded
def register_mixer(name: str) -> Callable[[Factory], Factory]:
    """Names a mixer, so that the config of a model holds the name and the model can be saved.

    A program that loads the model registers the same mixer before.

    Args:
        name: its name.

    Returns:
        A decorator of a function from a width `dim` to a module, or of a module class whose
        constructor takes `dim`.

    Raises:
        ConfigError: another mixer has that name, or the function takes other arguments.

    Example:
        >>> @register_mixer("linear")
        ... class Mean(nn.Linear):
        ...     def __init__(self, dim: int) -> None:
        ...         super().__init__(dim, dim)
        >>> make_mixer("linear", 8)
        Mean(in_features=8, out_features=8, bias=True)
    """
    return MIXERS.register(name)


@guarded
def make_mixer(
    mixer: str | MixerFactory | nn.Module, dim: PositiveInt, others: tuple[str, ...] = ()
) -> nn.Module:
    """Builds the mixer of one block.

    Args:
        mixer: a registered name; a function from a width to a module, or a module class; or a
            module, of which each block gets a copy.
        dim: width of a token.
        others: names of mixers that the caller has, for the error message.

    Returns:
        A module from (B, N, D) to the same shape.

    Raises:
        ConfigError: there is no mixer of this name, or `mixer` gives no module.

    Example:
        >>> make_mixer(nn.Identity(), 8)
        Identity()
        >>> make_mixer("fourier", 8)
        Traceback (most recent call last):
        vitrail.errors.ConfigError: mixer='fourier' is not one of [], and is not registered.
    """
    if isinstance(mixer, nn.Module):
        return copy.deepcopy(mixer)
    if isinstance(mixer, str):
        if mixer not in MIXERS:
            names = [*others, *MIXERS.names()]
            raise ConfigError(
                f"mixer={mixer!r} is not one of {names}, and is not registered."
                f"{suggest(mixer, names)}"
            )
        mixer = MIXERS.get(mixer)
    module = mixer(dim) if callable(mixer) else mixer
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"mixer={mixer!r} is no module, and no function from a width to a module."
        )
    return module
