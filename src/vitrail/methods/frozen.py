"""What a method does not train: a distillation teacher, a tokenizer of images."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import ConfigError, DataError, describe_value


def require_own_weights(backbone: nn.Module, network: object, name: str) -> None:
    """Checks that what is frozen is no part of what learns.

    Args:
        backbone: the model that learns.
        network: the network or function that is frozen.
        name: what it is, for the error.

    Raises:
        ConfigError: they share weights, or the network is a class and no object.

    Example:
        >>> require_own_weights(nn.Linear(2, 2), nn.Linear(2, 2), "teacher")
    """
    if isinstance(network, type):
        raise ConfigError(
            f"{name}={network.__name__} is a class of models: give a model, as one of "
            "vitrail.create_model."
        )
    if isinstance(network, nn.Module):
        learns = set(map(id, backbone.parameters()))
        if any(id(parameter) in learns for parameter in network.parameters()):
            raise ConfigError(
                f"the {name} shares weights with the model that learns, and would freeze them: "
                f"give copy.deepcopy({name})."
            )


class Frozen(nn.Module):
    """Calls a network, or any function, and keeps it out of training.

    A network is put in evaluation mode and frozen, and moves with the method to other devices. It
    is not a submodule: neither its weights nor its statistics are among the method's parameters or
    in its state_dict. Held as a plain attribute, a teacher would be a submodule, and each `train()`
    of the method would turn on its dropout and update its batch norms.

    Args:
        function: network or function to call. Its attribute `preprocess`, if there is one, says how
            it expects images.
        call: name of the method of `function` to call, if it has that method; otherwise `function`
            itself is called.

    Raises:
        ConfigError: nothing of it can be called.

    Example:
        >>> teacher = Frozen(nn.Linear(2, 3))
        >>> len(list(teacher.parameters())), teacher(torch.zeros(1, 2)).requires_grad
        (0, False)
    """

    function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any], call: str = "__call__") -> None:
        super().__init__()
        if not callable(getattr(function, call, function)):
            raise ConfigError(
                f"{describe_value(function)} cannot be called: give a network or a function."
            )
        if isinstance(function, nn.Module):
            function.eval().requires_grad_(False)
        self.__dict__["function"] = function  # assigned so, it does not become a submodule
        self.call = call

    @torch.no_grad()
    def forward(self, images: Tensor, preprocess: Any = None) -> Any:
        """images (B, C, *size), normalized as `preprocess` says → the output of the function."""
        if isinstance(self.function, nn.Module) and self.function.training:
            self.function.eval()  # it may be its owner's too, who trained it meanwhile
        function = getattr(self.function, self.call, self.function)
        images = convert_images(images, preprocess, getattr(self.function, "preprocess", None))
        return function(images.to(self._dtype(images.dtype)))

    def _dtype(self, default: torch.dtype) -> torch.dtype:
        """The dtype of the images that the function reads: that of its first weights."""
        if not isinstance(self.function, nn.Module):
            return default
        dtypes = (parameter.dtype for parameter in self.function.parameters())
        return next((dtype for dtype in dtypes if dtype.is_floating_point), default)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Frozen":
        if isinstance(self.function, nn.Module):
            # private: nothing public moves the network along with the method to another device
            self.function._apply(fn, recurse)
        super()._apply(fn, recurse)
        return self


def convert_images(images: Tensor, source: Any, target: Any) -> Tensor:
    """Images prepared by one preprocessing, as another one would have prepared them.

    Grey images become three equal channels, colors their mean. No border is cut off: both networks
    see the whole image.

    Args:
        images: (B, C, *size), prepared as `source` says.
        source: has `mean` and `std` per channel, and a `size` (height, width); None for unknown.
        target: the same, for the result; None for unknown.

    Returns:
        (B, C', *size') as `target` says; `images` where either is None.

    Raises:
        DataError: the numbers of channels differ and neither is 1.

    Example:
        >>> from vitrail.preprocess import Preprocess
        >>> zero_one = Preprocess(size=(4, 4), mean=(0.0,) * 3, std=(1.0,) * 3)
        >>> centered = Preprocess(size=(8, 8), mean=(0.5,) * 3, std=(0.5,) * 3)
        >>> images = convert_images(torch.ones(1, 3, 4, 4), zero_one, centered)
        >>> images.shape, torch.allclose(images, torch.ones(()))
        (torch.Size([1, 3, 8, 8]), True)
    """
    if source is None or target is None:
        return images
    channels, target_channels = len(source.mean), len(target.mean)
    if channels != target_channels and 1 not in (channels, target_channels):
        raise DataError(
            f"images of {channels} channels do not fit a network for {target_channels}: give a "
            "teacher or tokenizer of as many channels."
        )
    if (source.mean, source.std) != (target.mean, target.std):
        mean, std, target_mean, target_std = (
            images.new_tensor(values).view(-1, *[1] * (images.ndim - 2))
            for values in (source.mean, source.std, target.mean, target.std)
        )
        images = (images * std + (mean - target_mean)) / target_std
        images = images.mean(dim=1, keepdim=True) if target_channels == 1 else images
    if images.ndim == 4 and tuple(images.shape[2:]) != tuple(target.size):
        mode = getattr(target, "interpolation", "bicubic")
        images = F.interpolate(images, target.size, mode=mode, antialias=mode != "nearest")
    return images
