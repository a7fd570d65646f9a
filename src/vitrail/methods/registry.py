"""Methods by name. A file in this folder that holds a `Method` is found by itself."""

import functools
import importlib
import inspect
import pkgutil
from typing import Any

import vitrail.methods
from vitrail.errors import ConfigError, suggest
from vitrail.methods.base import Method
from vitrail.models.base import Backbone


@functools.cache
def methods() -> dict[str, type[Method]]:
    """Every method by the name of its file."""
    found: dict[str, type[Method]] = {}
    for info in pkgutil.iter_modules(vitrail.methods.__path__):
        if info.name == "base":
            continue
        module = importlib.import_module(f"vitrail.methods.{info.name}")
        for value in vars(module).values():
            own = isinstance(value, type) and value.__module__ == module.__name__
            if own and issubclass(value, Method):
                found[info.name] = value
    return found


def get_method(name: str) -> type[Method]:
    """The method of that name. Raises `ConfigError` if there is none."""
    if name not in methods():
        raise ConfigError(
            f"no method {name!r}.{suggest(name, methods())} There are: {', '.join(methods())}."
        )
    return methods()[name]


def create_method(name: str, backbone: Backbone, **settings: Any) -> Method:
    """Wraps a backbone in the method of that name. Raises `ConfigError` as `create_model` does."""
    method, known = get_method(name), settings_of(name)
    for setting in settings:
        if setting not in known:
            raise ConfigError(
                f"{method.__name__} has no setting {setting!r}.{suggest(setting, known)} "
                f"It takes: {', '.join(known)}."
            )
    return method(backbone, **settings)


def settings_of(name: str) -> dict[str, inspect.Parameter]:
    """A method's settings: the keywords of its constructor, the backbone aside."""
    every = inspect.signature(get_method(name).__init__).parameters
    return {key: value for key, value in every.items() if key not in ("self", "backbone")}
