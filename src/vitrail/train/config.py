"""The settings of a run: from YAML, with dotted overrides."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pydantic
from pydantic import Field

from vitrail.arguments import checked
from vitrail.errors import ConfigError
from vitrail.plugins import code_of, require_plugins, trust
from vitrail.train.recipe_file import merged, overridden, read_recipe, read_value
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
    values = overridden(values, overrides)
    for override in overrides:
        _trust_code(read_value(override.partition("=")[2]))
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
    return _make_config(read_recipe(Path(path)), overrides)


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
