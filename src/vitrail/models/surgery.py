"""Models made from trained ones: for another image size, or with other options.

The config and the preprocessing of what comes out tell the truth about it, so that it can be saved
and loaded again.
"""

import copy
import dataclasses
import itertools
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from vitrail.arguments import checked
from vitrail.errors import ConfigError, suggest
from vitrail.layers.patch import to_tuple
from vitrail.models.base import Backbone
from vitrail.models.limits import within_memory
from vitrail.models.rebuilding import rebuildable_state
from vitrail.preprocess import Preprocess
from vitrail.values import PositiveInt, Size, check_value, with_wrapped

# Keywords that may change without changing what the weights mean. "pool" says which are read; a
# shared bias of BEiT becomes a copy per block; the weights that read "channels" are adapted.
OPTIONS = (
    "dropout", "emb_dropout", "token_dropout", "token_dropout_largest", "drop_path", "pool",
    "shared_bias", "channels", "class_token", "norm_after_pool",
)  # fmt: skip


@checked
def resized(model: Backbone, image_size: Size) -> Backbone:
    """A copy of a model for images of another size.

    Tables of positions are resampled; a model without any has the same weights at every size.
    Its logits for images of that size are those of `model`. Rotations and windows that the model
    fits to its image size stay as they are: the keyword `reference_size` remembers the size that
    they are for.

    Args:
        model: any model.
        image_size: pixels, one number for all axes or one per axis.

    Returns:
        A model with weights of its own, in the mode of `model`. `image_size`, `config` and
        `preprocess` are of the new size.

    Raises:
        DataError: patches do not divide `image_size`.

    Example:
        >>> model = vitrail.ViT(32, 8, num_classes=5, dim=8, depth=1, heads=2, mlp_dim=16)
        >>> other = resized(model, (32, 48))
        >>> other.position.weight.shape, other.config["image_size"], other.preprocess.size
        (torch.Size([1, 25, 8]), (32, 48), (32, 48))
    """
    model = _inner(model)
    size = to_tuple(image_size, len(model.image_size))
    keywords = {**model.config, "image_size": size}
    if "reference_size" in keywords and keywords["reference_size"] is None:
        keywords["reference_size"] = model.image_size
    with within_memory(f"a model with image_size={image_size}", meta=True):
        with torch.device("meta"):
            other = type(model)(**keywords)
        with torch.no_grad():
            state = _state(model)
            weights = model.weights_at(other) or state
    return _completed(other, weights, model, preprocess=model.preprocess.at(size))


@checked
def with_channels(model: Backbone, channels: int) -> Backbone:
    """A copy of a model for images with another number of channels.

    The weights that read the image are adapted as timm does. For one channel they are summed, so
    that a gray image gives the logits of the same image in color. For more channels than before
    they are repeated, and divided by how often, so that the sums keep their size.

    Args:
        model: any model whose first layers are linear in the channels.
        channels: number of channels of the new model.

    Returns:
        A model with weights of its own, in the mode of `model`. Means and standard deviations of
        its preprocessing are repeated too; for one channel each is the mean over channels.

    Raises:
        ConfigError: `channels` is below 1, or more than the first layers depend on it.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=1, mlp_dim=8)
        >>> image = torch.randn(1, 1, 8, 8)
        >>> gray = with_channels(model, 1)(image)
        >>> torch.allclose(gray, model(image.expand(1, 3, 8, 8)), atol=1e-5)
        True
    """
    model, channels = _inner(model), check_value("channels", channels, PositiveInt)
    what = f"a model with channels={channels}"
    with within_memory(what, meta=True), torch.device("meta"):
        other = type(model)(**{**model.config, "channels": channels})
    weights, old = _state(model), model.channels
    for name, tensor in other.state_dict().items():
        before, after = weights[name].shape, tensor.shape
        if before == after:
            continue
        axes = [i for i, sides in enumerate(zip(before, after, strict=True)) if len(set(sides)) > 1]
        if axes != [1] or before[1] * channels != after[1] * old:
            raise ConfigError(
                f"channels={channels}: {name} of this {type(model).__name__} depends on the number "
                f"of channels, and cannot be adapted from {old}."
            )
        by_channel = weights[name].unflatten(1, (old, -1))
        if channels == 1:
            adapted = by_channel.sum(dim=1, keepdim=True)
        else:
            copies = -(-channels // old)
            adapted = torch.cat([by_channel] * copies, dim=1)[:, :channels] * (old / channels)
        weights[name] = adapted.flatten(1, 2)
    mean, std = model.preprocess.mean, model.preprocess.std
    if channels == 1:
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    else:
        mean, std = (tuple(itertools.islice(itertools.cycle(x), channels)) for x in (mean, std))
    preprocess = dataclasses.replace(model.preprocess, mean=mean, std=std)
    return _completed(other, weights, model, preprocess=preprocess)


@checked
def with_options(model: Backbone, options: Mapping[str, object]) -> Backbone:
    """A copy of a model with other options, such as those that fine-tuning sets.

    With another `pool`, a token that is no longer read is left out with its position, and modules
    after the blocks that the weights lack are freshly initialized. A ViT that was pretrained with a
    class token and gets pool="mean" thus goes on without the token, and its last norm is before the
    mean; with class_token=True and norm_after_pool=True it keeps the token, which nothing reads,
    and gets a fresh norm after the mean, as MAE's authors fine-tune.

    Args:
        model: any model.
        options: keywords of the constructor, among `OPTIONS`.

    Returns:
        A model with weights of its own, in the mode of `model`.

    Raises:
        ConfigError: a keyword is not among `OPTIONS`, or needs weights that the model lacks.

    Example:
        >>> model = vitrail.ViT(32, 8, num_classes=5, dim=8, depth=1, heads=2, mlp_dim=16)
        >>> with_options(model, {"pool": "mean"}).position.weight.shape
        torch.Size([1, 16, 8])
    """
    check_options(options)
    model, options = _inner(model), dict(options)
    if "channels" in options:
        model = with_channels(model, check_value("channels", options.pop("channels"), PositiveInt))
    with torch.random.fork_rng(devices=()):  # most initial values are thrown away
        other = type(model)(**{**model.config, **options})
    with torch.no_grad():
        state = _state(model)
        weights = model.weights_at(other) or state
    like, complete = next(model.parameters()), {}
    after_blocks = {
        f"{part}.{name}"
        for part in other.after_blocks
        if isinstance(module := getattr(other, part, None), nn.Module)
        for name in module.state_dict()
    }
    for name, tensor in other.state_dict().items():
        if name in weights and weights[name].shape == tensor.shape:
            complete[name] = weights[name]
        elif name in after_blocks:
            complete[name] = tensor.to(like.device, like.dtype)
        else:
            values = ", ".join(f"{key}={value!r}" for key, value in options.items())
            raise ConfigError(f"{values} needs the weight {name}, which this model lacks.")
    return _completed(other, complete, model, preprocess=model.preprocess)


def check_options(options: Iterable[str]) -> None:
    """Checks that keywords may change without changing what weights mean.

    Args:
        options: keywords of a constructor.

    Raises:
        ConfigError: a keyword is not among `OPTIONS`.

    Example:
        >>> check_options(["drop_path"])
    """
    for name in options:
        if name not in OPTIONS:
            raise ConfigError(
                f"the option {name!r} cannot change once there are weights."
                f"{suggest(name, OPTIONS)} These can: {', '.join(OPTIONS)}."
            )


def _inner(model: nn.Module) -> Backbone:
    """The model in the wrappers of torch.compile and data parallelism."""
    return next(inner for inner in with_wrapped(model) if isinstance(inner, Backbone))


def _state(model: Backbone) -> dict[str, Tensor]:
    """The state dict, if `model` is what its config says."""
    with torch.device("meta"):
        twin = type(model)(**model.config)
    what = type(model).__name__
    return rebuildable_state(model, twin, what, "no other model can be made from it")


def _completed(
    other: Backbone, weights: Mapping[str, Tensor], model: Backbone, preprocess: Preprocess
) -> Backbone:
    """`other` with copies of the weights, and with what `model` has beside its weights."""
    other.load_state_dict({n: t.detach().clone() for n, t in weights.items()}, assign=True)
    other.to(next(model.parameters()).device)  # buffers that are computed
    learning = {name: p.requires_grad for name, p in model.named_parameters()}
    for name, parameter in other.named_parameters():
        parameter.requires_grad = learning.get(name, True)
    other.labels, other.origin, other.preprocess = model.labels, model.origin, preprocess
    other.gradient_checkpointing = model.gradient_checkpointing
    if (augment := getattr(model, "sequence_augment", None)) is not None:
        other.sequence_augment = copy.deepcopy(augment)
    return other.train(model.training)
