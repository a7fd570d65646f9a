"""The settings of a run: from YAML, with dotted overrides."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pydantic
from pydantic import Field

from vitrail.arguments import checked
from vitrail.errors import ConfigError, describe_value
from vitrail.foreign import MAX_SETTINGS, parse_yaml, read_text
from vitrail.plugins import code_of, require_plugins, trust
from vitrail.train.sections import (
    DataConfig,
    MethodConfig,
    ModelConfig,
    Section,
    method_section,
)
from vitrail.train.setting_errors import describe_invalid, flatten
from vitrail.train.training_sections import OptimConfig, ScheduleConfig, TrainConfig


class RunConfig(Section):
    """All settings of a run.

    Raises:
        ConfigError: a setting does not exist or has a wrong value; the message names its key.

    Example:
        >>> RunConfig().method.name
        'supervised'
    """

    cure: ClassVar[str] = "vitrail.train.make_config and read_config return one."  # for errors
    model: ModelConfig = ModelConfig()
    method: pydantic.SerializeAsAny[MethodConfig] = Field(
        default_factory=lambda: method_section("supervised")()
    )
    data: DataConfig = DataConfig()
    optim: OptimConfig = OptimConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    train: TrainConfig = TrainConfig()

    @pydantic.field_validator("method", mode="before")
    @classmethod
    def _read_method(cls, values: Any) -> Any:
        """The section of the method that is named."""
        if not isinstance(values, dict):
            return values
        section = method_section(str(values.get("name", "supervised")))
        try:
            return section.model_validate(values)
        except pydantic.ValidationError as problem:
            raise ConfigError(describe_invalid(problem, RunConfig, ("method",))) from None

    def plain(self) -> dict[str, Any]:
        """The settings as nested dictionaries of plain values."""
        return self.model_dump(mode="json")


HARMLESS = {  # on resume: they change no result
    "data.workers", "train.device", "train.threads", "train.log_every", "train.plugins",
    "train.wandb", "train.mlflow", "train.monitor", "train.check_shapes",
}  # fmt: skip
ADJUSTABLE = {  # on resume: they change the result from there on
    "data.batch_size", "optim.lr", "optim.weight_decay", "optim.weight_decay_end", "optim.clip",
    "optim.clip_by", "optim.accumulate", "schedule", "train.precision", "train.save_every",
    "train.eval_every", "train.keep", "train.early_stopping", "train.gradient_checkpointing",
    "train.compile", "train.channels_last", "train.sharding",
}  # fmt: skip


MAX_BASES = 16  # recipes one of which is the base of the next


@checked
def make_config(values: Mapping[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Settings from nested values.

    Code that they name, as in "python:teacher.py:make", may run: the caller named it.

    Args:
        values: nested dictionaries; what they lack has its default.
        overrides: values that differ, such as "optim.lr=3e-4".

    Returns:
        The settings.

    Raises:
        ConfigError: a setting does not exist or has a wrong value; the message names its key.

    Example:
        >>> make_config({"optim": {"lr": 0.1}}, ["optim.clip=2"]).optim.clip
        2.0
    """
    _trust_code(values)
    return _make_config(dict(values), overrides)


def _make_config(values: dict[str, Any], overrides: Sequence[str]) -> RunConfig:
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"override {override!r} has no '=': write it like optim.lr=0.001.")
        *parents, last = path.split(".")
        section = values
        for parent in parents:
            inner = section.get(parent)
            # A copy, so that the caller's stays as it is.
            section[parent] = dict(inner) if isinstance(inner, Mapping) else {}
            section = section[parent]
        section[last] = _read_value(text)
        _trust_code(section[last])
    train = values.get("train")
    require_plugins(train.get("plugins") if isinstance(train, dict) else None)
    try:
        return RunConfig.model_validate(values)
    except pydantic.ValidationError as problem:
        raise ConfigError(describe_invalid(problem, RunConfig)) from None


@checked
def read_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Settings from a YAML file.

    `base: OTHER.yaml` at its top, a path relative to the file's folder, names a file whose settings
    hold where this one gives none. It lies in the folder of the file, below it or directly above.
    Code that a file names does not run, unless the overrides or
    `load_plugin` name it too.

    Args:
        path: the file.
        overrides: values that differ, such as "optim.lr=3e-4".

    Returns:
        The settings.

    Raises:
        ConfigError: the file cannot be read, or a setting is wrong.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "recipe.yaml"
        >>> path.write_text("optim: {lr: 0.1}")
        16
        >>> read_config(path).optim.lr
        0.1
    """
    return _make_config(_read(Path(path)), overrides)


def _trust_code(value: object) -> None:
    """Lets the code run that a value of the caller's names."""
    if source := code_of(value):
        trust(source)
    elif isinstance(value, Mapping | list | tuple):
        for entry in value.values() if isinstance(value, Mapping) else value:
            _trust_code(entry)


def resumed_config(old: RunConfig, new: RunConfig) -> tuple[RunConfig, list[str]]:
    """The settings with which a run goes on.

    Args:
        old: settings of the run.
        new: settings that it is resumed with; what they do not give is as it was.

    Returns:
        The settings, and a sentence on each that changes the result from here on.

    Raises:
        ConfigError: a setting differs that a run cannot change on its way.

    Example:
        >>> config, changes = resumed_config(RunConfig(), make_config({}, ["schedule.epochs=20"]))
        >>> config.schedule.epochs, changes
        (20, ['schedule.epochs was 10 and is 20 from here on.'])
    """
    explicit = new.model_dump(mode="json", exclude_unset=True)
    config = RunConfig.model_validate(merged(old.plain(), explicit))
    before, after = flatten(old.model_dump()), flatten(config.model_dump())
    changes = []
    for key in before | after:
        if before.get(key) == after.get(key) or key in HARMLESS:
            continue
        change = f"{key} was {before.get(key)!r} and is {after.get(key)!r}"
        if key not in ADJUSTABLE and key.partition(".")[0] not in ADJUSTABLE:
            raise ConfigError(
                f"{change} now: a resumed run keeps its settings. Leave it out, or start a new run."
            )
        changes.append(f"{change} from here on.")
    return config, changes


def _read(path: Path, readers: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The settings of a file and of its base; `readers` are the files whose base it is."""
    if path.resolve() in readers:
        raise ConfigError(
            f"{readers[0]}: base leads back to {path}, which is this file itself or "
            "has it as its base."
        )
    if len(readers) > MAX_BASES:
        raise ConfigError(f"{readers[0]}: base leads through more than {MAX_BASES} files.")
    try:
        text = read_text(path, ConfigError, MAX_SETTINGS)
    except FileNotFoundError as problem:
        raise ConfigError(f"{path}: cannot be read ({problem.strerror}).") from None
    values = parse_yaml(text, str(path), ConfigError) or {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no settings; it begins like 'model: {{name: ...}}'.")
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str) or "\0" in base:
        raise ConfigError(f"{path}: base={describe_value(base)} is no path of a file.")
    readers = (*readers, path.resolve())
    target, tree = (path.parent / base).resolve(), readers[0].parent
    if not target.is_relative_to(tree) and target.parent != tree.parent:
        raise ConfigError(
            f"{path}: base={base!r} is neither in the recipe's folder, {tree}, nor directly above "
            "it: copy it there."
        )
    return merged(_read(path.parent / base, readers), values)


def merged(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Nested values, with those of another where they have none.

    Args:
        base: nested dictionaries.
        values: others, which win.

    Returns:
        A new dictionary.

    Example:
        >>> merged({"optim": {"lr": 0.1, "clip": 1}}, {"optim": {"lr": 0.2}})
        {'optim': {'lr': 0.2, 'clip': 1}}
    """
    result = dict(base)
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        result[key] = merged(base[key], value) if both else value
    return result


def _read_value(text: str) -> Any:
    """The text as YAML, where 1e-3 is a number too."""
    value = parse_yaml(text, describe_value(text), ConfigError)
    return _read_numbers(value, text)


def _read_numbers(value: Any, text: str) -> Any:
    """Turns what YAML takes for text, such as 1e-3, into numbers, but not what is quoted."""
    if isinstance(value, list):
        return [_read_numbers(entry, text) for entry in value]
    if isinstance(value, dict):
        for key, entry in value.items():
            if entry is None and ":" in str(key):
                raise ConfigError(
                    f"{key!r} in {text!r} has no value: put a space after its colon, as "
                    f"{key.replace(':', ': ', 1)!r}."
                )
        return {key: _read_numbers(entry, text) for key, entry in value.items()}
    if isinstance(value, str) and not any(f"{q}{value}{q}" in text for q in "'\""):
        try:
            return float(value)
        except ValueError:
            return value
    return value
