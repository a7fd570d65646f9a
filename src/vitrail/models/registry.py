"""Models by name. A file in this folder that holds a backbone and `VARIANTS` is found by itself."""

import fnmatch
import functools
import importlib
import pkgutil
from typing import Any, NamedTuple

import vitrail.models
from vitrail.errors import ConfigError, suggest
from vitrail.models.base import Backbone, Variant


class Entry(NamedTuple):
    """A variant and the class it is a variant of."""

    model: type[Backbone]
    variant: Variant


@functools.cache
def model_classes() -> dict[str, type[Backbone]]:
    """Every model class by its name."""
    found: dict[str, type[Backbone]] = {}
    for info in pkgutil.iter_modules(vitrail.models.__path__):
        module = importlib.import_module(f"vitrail.models.{info.name}")
        if hasattr(module, "VARIANTS"):
            found |= {
                name: value
                for name, value in vars(module).items()
                if isinstance(value, type)
                and issubclass(value, Backbone)
                and value.__module__ == module.__name__
            }
    return found


@functools.cache
def variants() -> dict[str, Entry]:
    """Every variant by its name. Where a file has several classes, the first owns its variants."""
    owners: dict[str, type[Backbone]] = {}
    for model in model_classes().values():
        owners.setdefault(model.__module__, model)
    return {
        name: Entry(model, variant)
        for module, model in owners.items()
        for name, variant in importlib.import_module(module).VARIANTS.items()
    }


def list_models(pattern: str = "*") -> list[str]:
    """Names of variants that match a shell pattern, sorted."""
    return sorted(fnmatch.filter(variants(), pattern))


def get_model_class(name: str) -> type[Backbone]:
    """The model class of that name. Raises `ConfigError` if there is none."""
    if name not in model_classes():
        raise ConfigError(f"no model class {name!r}.{suggest(name, model_classes())}")
    return model_classes()[name]


def create_model(name: str, **keywords: Any) -> Backbone:
    """Builds a model, with fresh weights, from a variant's or a class's name.

    Keywords replace the variant's: `create_model("vit_base_patch16_224", num_classes=10)`.
    Raises `ConfigError` for an unknown name or keyword, with the nearest that exists.
    """
    if name in variants():
        model, variant = variants()[name]
        return model(**{**variant.keywords, **keywords})
    if name in model_classes():
        return model_classes()[name](**keywords)
    names = [*variants(), *model_classes()]
    raise ConfigError(
        f"no model {name!r}.{suggest(name, names)} `vitrail models` lists all {len(variants())}."
    )
