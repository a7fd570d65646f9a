"""Augmentation of the user's own, by name."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from vitrail.errors import ConfigError
from vitrail.registry import Registry

ImageTransform = Callable[[Tensor, torch.Generator], Tensor]
OwnTransform = TypeVar("OwnTransform", bound=Callable[..., Tensor])

TRANSFORMS: Registry[Callable[..., Tensor]] = Registry(
    "transform",
    {},
    arguments=("images", "generator"),
    decorator="vitrail.data.register_transform",
)


def register_transform(name: str) -> Callable[[OwnTransform], OwnTransform]:
    """Adds an augmentation of your own, which the setting `data.transforms` names.

    Args:
        name: its name.

    Returns:
        A decorator of a function of images and a generator, and keywords of its own. The images are
        float (B, C, *size) on 0..1, after crop, flip and color, and the function returns as many of
        the same shape. It draws from the `torch.Generator`, which is on their device and follows
        from the run's seed, so that a resumed run draws the same.

    Raises:
        ConfigError: another transform has that name, or the function takes other arguments.

    Example:
        >>> @register_transform("noise")
        ... def noise(images: Tensor, generator: torch.Generator, strength: float = 0.1) -> Tensor:
        ...     return images + strength * torch.randn(images.shape, generator=generator)
        >>> (transform,) = own_transforms({"noise": {"strength": 0.0}})
        >>> transform(torch.ones(1, 1, 2, 2), torch.Generator()).mean()
        tensor(1.)
    """
    return TRANSFORMS.register(name)


def own_transforms(settings: Mapping[str, Mapping[str, Any]]) -> list[ImageTransform]:
    """The registered transforms that settings name.

    Args:
        settings: the keywords of each transform by its name, in the order of their use.

    Returns:
        Functions of images and a generator.

    Raises:
        ConfigError: there is no such transform or keyword.

    Example:
        >>> own_transforms({})
        []
    """
    return [
        _same_shape(name, TRANSFORMS.partial(name, values)) for name, values in settings.items()
    ]


def _same_shape(name: str, transform: ImageTransform) -> ImageTransform:
    def apply(images: Tensor, generator: torch.Generator) -> Tensor:
        changed = transform(images, generator)
        if not isinstance(changed, Tensor) or changed.shape != images.shape:
            result = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
            raise ConfigError(
                f"the transform {name!r} makes {result} of images {tuple(images.shape)}: return a "
                "tensor of the same shape."
            )
        return changed

    return apply
