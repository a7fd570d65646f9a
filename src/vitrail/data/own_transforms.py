"""Augmentation of the user's own, by name."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import torch
from torch import Tensor

from vitrail.arguments import Unchecked, checked
from vitrail.errors import ConfigError
from vitrail.registry import Registry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ImageTransform = Callable[[Tensor, torch.Generator], Tensor]
OwnTransform = TypeVar("OwnTransform", bound=Callable[..., Tensor])

TRANSFORMS: Registry[Callable[..., Tensor]] = Registry(
    "transform",
    {},
    arguments=("images", "generator"),
    decorator="vitrail.data.register_transform",
)


@checked
def register_transform(name: Annotated[str, Unchecked()]) -> Callable[[OwnTransform], OwnTransform]:
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


OwnImageTransform = Callable[["NDArray[np.uint8]", int], "NDArray[np.uint8]"]  # with a seed
OwnFunction = TypeVar("OwnFunction", bound=Callable[..., Any])

IMAGE_TRANSFORMS: Registry[Callable[..., Any]] = Registry(
    "image transform",
    {},
    arguments=("image", "seed"),
    decorator="vitrail.data.register_image_transform",
)


@checked
def register_image_transform(
    name: Annotated[str, Unchecked()],
) -> Callable[[OwnFunction], OwnFunction]:
    """Adds a function of single images, which the setting `data.image_transforms` names.

    It runs in the processes that read images, and so suits libraries such as albumentations.

    Args:
        name: its name.

    Returns:
        A decorator of a function of an image and a seed, and keywords of its own. The image is
        uint8 (H, W, C), after all other changes, and the function returns another of the same
        shape. Of the seed it makes its draws, so that they follow from the run's seed.

    Raises:
        ConfigError: another image transform has that name, or the function takes other arguments.

    Example:
        >>> @register_image_transform("invert")
        ... def invert(image, seed: int, probability: float = 0.5):
        ...     return 255 - image if seed % 1000 < 1000 * probability else image
        >>> (transform,) = own_image_transforms({"invert": {"probability": 1.0}})
        >>> import numpy as np
        >>> transform(np.zeros((2, 2, 3), np.uint8), 7).max()
        np.uint8(255)
    """
    return IMAGE_TRANSFORMS.register(name)


def own_image_transforms(settings: Mapping[str, Mapping[str, Any]]) -> list[OwnImageTransform]:
    """The registered functions of single images that settings name.

    Args:
        settings: the keywords of each function by its name, in the order of their use.

    Returns:
        Functions of an image and a seed.

    Raises:
        ConfigError: there is no such function or keyword.

    Example:
        >>> own_image_transforms({})
        []
    """
    return [
        _same_pixels(name, IMAGE_TRANSFORMS.partial(name, values))
        for name, values in settings.items()
    ]


def _same_pixels(name: str, transform: Callable[..., Any]) -> OwnImageTransform:
    def apply(image: "NDArray[np.uint8]", seed: int) -> "NDArray[np.uint8]":
        changed = transform(image, seed)
        kind = getattr(changed, "dtype", type(changed).__name__), getattr(changed, "shape", None)
        if kind != (image.dtype, image.shape):
            raise ConfigError(
                f"the image transform {name!r} makes {kind[0]} {kind[1]} of {image.dtype} "
                f"{image.shape}: return an array of the same type and shape."
            )
        return changed

    return apply
