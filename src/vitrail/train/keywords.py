"""Settings of a run as keywords of a Python call: flat, as in `epochs=3`, or by section."""

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from typing_extensions import TypedDict

from vitrail.errors import ConfigError, suggest
from vitrail.methods.registry import list_methods
from vitrail.train.config import RunConfig
from vitrail.train.optim import ParameterOptim
from vitrail.train.sections import method_section
from vitrail.train.settings_elsewhere import setting_here

Key = tuple[str, ...]  # ("optim", "lr")


class Settings(TypedDict, total=False):
    """The settings that `vitrail.fit` takes as keywords, for editors and type checkers.

    docs/en/config.md says what each means. The settings of a method are keywords too.

    Example:
        >>> settings: Settings = {"epochs": 3, "lr": 1e-3}
    """

    # model
    weights: str | None
    options: Mapping[str, object]
    patch_init: Literal["lecun", "torch"] | None
    head_std: float | None
    lora: int
    lora_alpha: float | None
    sequence: Mapping[str, object]
    # data
    validation: float | None
    folds: int | None
    fold: int
    digests: Mapping[str, str]
    batch_size: int
    workers: int
    bad_images: Literal["raise", "skip"]
    limit: int | None
    check: bool
    channels: int | None
    white: float | None
    resize: Literal["crop", "pad", "squeeze"] | None
    sampler: Literal["shuffled", "balanced"]
    sampling: Mapping[str, object] | None
    augment_by: Literal["image", "batch"] | None
    image_transforms: Mapping[str, Mapping[str, object]]
    repeats: int
    canvas: float
    augment: Mapping[str, object]
    transforms: Mapping[str, Mapping[str, object]]
    crops: Mapping[str, object]
    # data.augment
    crop: Literal["resized", "padded", "none"]
    scale: tuple[float, float]
    ratio: tuple[float, float]
    padding: int
    flip: float
    reverse: float
    vertical_flip: float
    rotation: float
    policy: Literal["trivialaugment", "augmix", "3-augment"] | None
    randaugment: int
    magnitude: int
    jitter: float
    saturation: float | None
    hue: float
    jitter_probability: float
    grayscale: float
    erasing: float
    mixup: float
    cutmix: float
    # optim
    optim: Mapping[str, object]
    optimizer: str
    optimizer_options: Mapping[str, object]
    lr: float
    weight_decay: float
    weight_decay_end: float | None
    betas: tuple[float, float]
    eps: float
    layer_decay: float
    per_module: Mapping[str, ParameterOptim | Mapping[str, float | None]]
    clip: float | None
    clip_by: Literal["all", "parameter"]
    accumulate: int
    ema: float
    # schedule
    schedule: Mapping[str, object]
    epochs: int
    warmup: float
    warmup_steps: int | None
    warmup_epochs: float | None
    min_lr: float
    shape: Literal["cosine", "full_cosine", "linear", "constant", "step", "wsd"]
    drop_at: float
    # train
    train: Mapping[str, object]
    seed: int
    precision: Literal["fp32", "bf16", "fp16"]
    sharding: Literal["fsdp"] | None
    gradient_checkpointing: bool
    device: str | None
    compile: bool
    check_shapes: bool
    channels_last: bool
    threads: int | None
    save_every: int | None
    on_nan: Literal["stop", "skip", "rollback"]
    eval_every: int
    keep: Literal["best", "last"]
    early_stopping: int | None
    knn_images: int
    log_every: int | None
    baseline: str | None
    monitor: bool | int
    wandb: bool
    mlflow: bool
    plugins: Sequence[str]


def nest(
    sections: Mapping[str, Mapping[str, object]], keywords: Mapping[str, object]
) -> dict[str, Any]:
    """Sorts keywords into the sections that they are settings of.

    Args:
        sections: settings by section, of which "method" has its "name".
        keywords: further settings, each flat or a whole section.

    Returns:
        Nested values, as `make_config` takes them.

    Raises:
        ConfigError: a keyword is unknown, is a setting of two sections, or is given twice.

    Example:
        >>> nest({"method": {"name": "mae"}}, {"lr": 1e-3, "mask_ratio": 0.5, "train": {"seed": 1}})
        {'method': {'name': 'mae', 'mask_ratio': 0.5}, 'train': {'seed': 1}, 'optim': {'lr': 0.001}}
    """
    values: dict[str, Any] = {}
    flat = {name: value for name, value in keywords.items() if name not in RunConfig.model_fields}
    nested = {name: value for name, value in keywords.items() if name in RunConfig.model_fields}
    for section, settings in [*sections.items(), *nested.items()]:
        if not isinstance(settings, Mapping):
            raise ConfigError(
                f"{section}={settings!r} is no mapping of settings: write {section}={{...}}."
            )
        for name, value in settings.items():
            _put(values, (section, name), value)
    keys = setting_keys(values.get("method", {}).get("name", "supervised"))
    for name, value in flat.items():
        if name not in keys:
            raise ConfigError(f"no setting {name!r}.{_suggestion(name, keys)}")
        if len(keys[name]) > 1:
            sections_text = " and of ".join(".".join(key[:-1]) for key in keys[name])
            cures = " or ".join(_spelled(key) for key in keys[name])
            raise ConfigError(f"{name!r} is a setting of {sections_text}: write {cures}.")
        _put(values, keys[name][0], value)
    return values


def setting_keys(method: str) -> dict[str, list[Key]]:
    """Where each setting belongs.

    Args:
        method: name of the method, whose settings are among them.

    Returns:
        Keys by the setting's own name; several where sections share it.

    Raises:
        ConfigError: there is no such method.

    Example:
        >>> setting_keys("supervised")["lr"], setting_keys("supervised")["blur"]
        ([('optim', 'lr')], [('data', 'augment', 'blur'), ('data', 'crops', 'blur')])
    """
    keys: defaultdict[str, list[Key]] = defaultdict(list)
    for section, field in RunConfig.model_fields.items():
        group: Any = method_section(method) if section == "method" else field.annotation
        for name, setting in group.model_fields.items():
            keys[name].append((section, name))
            if dataclasses.is_dataclass(default := setting.default):
                for part in dataclasses.fields(default):
                    keys[part.name].append((section, name, part.name))
    return dict(keys)


def _put(values: dict[str, Any], key: Sequence[str], value: Any) -> None:
    """Sets a value; mappings are merged."""
    *parents, last = key
    for parent in parents:
        group = values.setdefault(parent, {})
        if not isinstance(group, dict):
            raise ConfigError(f"{last!r} is given twice: by {parent}={group!r} too.")
        values = group
    if isinstance(value, Mapping) and isinstance(values.get(last), dict | None):
        values.setdefault(last, {})
        for name, entry in value.items():
            _put(values, (last, name), entry)
        return
    if last in values:
        raise ConfigError(f"{last!r} is given twice, as {values[last]!r} and as {value!r}.")
    values[last] = value


def _spelled(key: Key) -> str:
    """A setting as a keyword that says which section it is of."""
    *_sections, parent, name = key
    return f"{parent}={{{name!r}: ...}}"


def _suggestion(name: str, keys: Mapping[str, list[Key]]) -> str:
    methods = [m for m in list_methods() if name in method_section(m).model_fields]
    if methods:
        return f" It is one of {', '.join(f'method={method!r}' for method in methods)}."
    nearest = suggest(name, [*keys, *RunConfig.model_fields, "out", "resume", "callbacks"])
    if not nearest and (here := setting_here(name, [])):
        nearest = f" Here it is called {here.rpartition('.')[2]!r}."
    return f"{nearest} Keywords of the model go into options={{...}}. `vitrail config` lists all."
