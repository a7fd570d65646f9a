"""Methods by name."""

import importlib
import inspect
from typing import Any

from vitrail.errors import ConfigError, suggest
from vitrail.methods.base import Method
from vitrail.models.base import Backbone

# The name of a method is that of its file in this folder; the class in it is listed here.
METHODS = {
    "attentive_probe": "AttentiveProbe",
    "beit": "BEiTPretraining",
    "clip": "CLIP",
    "dino": "DINO",
    "distill": "Distill",
    "dvae": "DVAE",
    "linear_probe": "LinearProbe",
    "mae": "MAE",
    "mpp": "MPP",
    "simmim": "SimMIM",
    "supervised": "Supervised",
}

_REGISTERED: dict[str, type[Method]] = {}  # from other packages


def list_methods() -> list[str]:
    """The names of all methods.

    Returns:
        Names, sorted.

    Example:
        >>> "mae" in list_methods()
        True
    """
    return sorted(METHODS.keys() | _REGISTERED.keys())


def get_method(name: str) -> type[Method]:
    """The class of a method.

    Args:
        name: one of `list_methods()`.

    Returns:
        The class.

    Raises:
        ConfigError: there is no method of that name.

    Example:
        >>> get_method("supervised").__name__
        'Supervised'
    """
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name not in METHODS:
        names = list_methods()
        raise ConfigError(
            f"no method {name!r}.{suggest(name, names)} There are: {', '.join(names)}."
        )
    return getattr(importlib.import_module(f"vitrail.methods.{name}"), METHODS[name])


def register_method(name: str, method: type[Method]) -> None:
    """Adds a method, so that recipes can name it.

    Args:
        name: its name.
        method: its class.

    Raises:
        ConfigError: another method has that name.

    Example:
        >>> class Mine(get_method("supervised")): ...
        >>> register_method("mine", Mine)
        >>> get_method("mine") is Mine
        True
    """
    if name in METHODS or _REGISTERED.get(name, method).__qualname__ != method.__qualname__:
        raise ConfigError(f"there is a method {name!r} already: choose another name.")
    _REGISTERED[name] = method


def create_method(name: str, backbone: Backbone, **settings: Any) -> Method:
    """Wraps a backbone in a method.

    Args:
        name: one of `list_methods()`.
        backbone: model to train.
        **settings: the method's keywords, as `settings_of` lists them.

    Returns:
        The method.

    Raises:
        ConfigError: there is no such method or setting, or a value is out of range.
        TierError: the method cannot train such a backbone.

    Example:
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> create_method("supervised", model, label_smoothing=0.2).settings
        {'label_smoothing': 0.2}
    """
    method, names = get_method(name), settings_of(name)
    for setting in settings:
        if setting not in names:
            raise ConfigError(
                f"{method.__name__} has no setting {setting!r}.{suggest(setting, names)} "
                f"It takes: {', '.join(names) or 'none'}."
            )
    return method(backbone, **settings)


def settings_of(name: str) -> dict[str, inspect.Parameter]:
    """The settings of a method: the keywords of its constructor, the backbone left out.

    Args:
        name: one of `list_methods()`.

    Returns:
        Parameters by name, with annotation and default.

    Raises:
        ConfigError: there is no method of that name.

    Example:
        >>> list(settings_of("supervised"))
        ['label_smoothing']
    """
    parameters = inspect.signature(get_method(name).__init__).parameters
    return {key: value for key, value in parameters.items() if key not in ("self", "backbone")}
