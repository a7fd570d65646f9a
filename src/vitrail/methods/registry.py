"""Methods by name."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, cast

from vitrail.arguments import Unchecked, checked
from vitrail.errors import ConfigError, suggest
from vitrail.methods.base import Method
from vitrail.methods.purposes import METHOD_PURPOSES
from vitrail.models.base import Backbone
from vitrail.models.purposes import names_for
from vitrail.registry import Registry

MethodClass = TypeVar("MethodClass", bound=type[Method])

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
    "memory": "LearnableMemory",
    "mp3": "MP3",
    "mpp": "MPP",
    "multi_label": "MultiLabel",
    "regression": "Regression",
    "simmim": "SimMIM",
    "supervised": "Supervised",
}

METHOD_REGISTRY: Registry[type[Method]] = Registry(
    "method",
    {name: f"vitrail.methods.{name}:{method}" for name, method in METHODS.items()},
    base=Method,
    decorator="vitrail.methods.register_method",
)


@checked
def list_methods(purpose: str | None = None) -> list[str]:
    """The names of all methods.

    Args:
        purpose: "labels", "few-labels", "no-labels", "teacher", "captions" or "small-budget", to
            list only those recommended for it; `vitrail.methods.purposes` has the reasons. None
            for all.

    Returns:
        Names, sorted, or the best known choice first if there is a purpose.

    Raises:
        ConfigError: there is no such purpose; the message lists all.

    Example:
        >>> list_methods("teacher")
        ['distill']
    """
    if purpose is not None:
        return names_for(purpose, METHOD_PURPOSES)
    return METHOD_REGISTRY.names()


@checked
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
    return METHOD_REGISTRY.get(name)


@checked
def register_method(name: Annotated[str, Unchecked()]) -> Callable[[MethodClass], MethodClass]:
    """Adds a method of your own, so that recipes and commands can name it.

    Args:
        name: its name.

    Returns:
        A decorator of the class, a subclass of `Method`.

    Raises:
        ConfigError: another method has that name, or the class is no method.

    Example:
        >>> @register_method("mine")
        ... class Mine(get_method("supervised")): ...
        >>> get_method("mine") is Mine
        True
    """
    return METHOD_REGISTRY.register(name)


@checked
def create_method(name: str, backbone: Backbone, **settings: object) -> Method:
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
        {'label_smoothing': 0.2, 'class_weights': 'equal', 'focal': 0.0}
    """
    method, names = get_method(name), settings_of(name)
    for setting in settings:
        if setting not in names:
            raise ConfigError(
                f"{method.__name__} has no setting {setting!r}.{suggest(setting, names)} "
                f"It takes: {', '.join(names) or 'none'}."
            )
    return method(backbone, **cast("dict[str, Any]", settings))


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
        ['label_smoothing', 'class_weights', 'focal']
    """
    parameters = inspect.signature(get_method(name).__init__).parameters
    return {key: value for key, value in parameters.items() if key not in ("self", "backbone")}
