"""A setting that is wrong, in one line."""

from typing import Any

import pydantic

from vitrail.errors import ConfigError, describe_value, suggest
from vitrail.methods.registry import list_methods, settings_of
from vitrail.train.settings_elsewhere import setting_here

OPEN = {  # of any keys
    "model.options", "optim.optimizer_options", "data.transforms", "data.digests",
}  # fmt: skip


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted keys.

    Args:
        values: nested dictionaries.
        prefix: what their keys begin with, such as "optim.".

    Returns:
        A dictionary without dictionaries in it, but for settings that take any keys.

    Example:
        >>> flatten({"optim": {"lr": 0.1, "optimizer_options": {"fused": True}}})
        {'optim.lr': 0.1, 'optim.optimizer_options': {'fused': True}}
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, dict) and prefix + key not in OPEN
        flat |= flatten(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return flat


def describe_invalid(
    problem: pydantic.ValidationError,
    section: type[pydantic.BaseModel],
    parents: tuple[str, ...] = (),
) -> str:
    """What pydantic says of wrong settings, in one line that names the key of the first.

    Args:
        problem: its error.
        section: class of the settings, whose keys may be meant by one that does not exist.
        parents: keys of the sections that these settings are in.

    Returns:
        A sentence.

    Example:
        >>> from vitrail.train.training_sections import OptimConfig
        >>> try:
        ...     OptimConfig.model_validate({"clip": "much"})
        ... except pydantic.ValidationError as problem:
        ...     describe_invalid(problem, OptimConfig)[:40]
        "clip='much': Input should be a valid num"
    """
    error = problem.errors()[0]
    path = [*parents, *error["loc"]]
    key = ".".join(map(str, path))
    message = error["msg"].removeprefix("Value error, ")
    if isinstance(error.get("ctx", {}).get("error"), ConfigError):
        inner = str(error["ctx"]["error"])
        # An inner message has its key; that of a dataclass begins with the name of its field.
        return inner if path == ["method"] else f"{key}.{inner}"
    if error["type"] == "missing" and isinstance(path[-1], int):
        return f"{'.'.join(map(str, path[:-1]))} has too few entries: it has {path[-1]}."
    if error["type"] == "missing":
        needs = f", and {path[0]} needs it" if len(path) > 1 else ""
        return f"{key} is not given{needs}: `vitrail config` says what it may be."
    if error["type"] in ("model_type", "dict_type", "dataclass_type"):
        return f"{key}={describe_value(error['input'])} is no dictionary of settings."
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        keys = [*flatten(_defaults(section)), *section.model_fields]
        for name in list_methods() if path[0] == "method" else ():
            settings = [f"method.{setting}" for setting in ("name", *settings_of(name))]
            if key in settings:
                return (
                    f"{key} is a setting of method {name!r}, and method.name is another: leave it "
                    f"out, or set method.name={name}."
                )
            keys += settings
        here = "" if suggest(key, keys) else setting_here(key, keys)
        hint = f" Here it is called {here!r}." if here else suggest(key, keys)
        return f"no setting {key!r}.{hint} `vitrail config` lists all."
    if not path:  # of settings together
        return f"{message.rstrip('.')}."
    return f"{key}={describe_value(error['input'])}: {message.rstrip('.')}."


def _defaults(section: type[pydantic.BaseModel]) -> dict[str, Any]:
    """The default values of settings, nested as they are; none where one has no default."""
    if any(field.is_required() for field in section.model_fields.values()):
        return {}
    return section.model_validate({}).model_dump()
