"""What a method asks and does not train: a teacher, a tokenizer."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import DataError


class Frozen(nn.Module):
    """Asks a network, or any callable, and keeps it out of training.

    A network is put in evaluation mode and frozen, and goes where the method goes; yet it is no
    part of it: neither its weights nor its statistics are among the method's parameters or in its
    state_dict. A mistake that is easy to make instead: held as a plain attribute, a teacher is a
    part, and each `train()` of the method wakes its dropout and moves its batch norms.

    Args:
        asked: what is asked. `asked.preprocess`, if it has one, says how it wants its images.
        call: the name of the method of `asked` to call, if it has it; else it is called itself.
    """

    asked: Callable[..., Any]
    vocabulary: int  # of a tokenizer

    def __init__(self, asked: Callable[..., Any], call: str = "__call__") -> None:
        super().__init__()
        if isinstance(asked, nn.Module):
            asked.eval().requires_grad_(False)
        self.__dict__["asked"] = asked  # past what would make it a part
        self.call = call

    @torch.no_grad()
    def forward(self, images: Tensor, preprocess: Any = None) -> Any:
        """images (B, C, *size), normalised as `preprocess` says → what the network answers."""
        ask = getattr(self.asked, self.call, self.asked)
        return ask(as_seen(images, preprocess, getattr(self.asked, "preprocess", None)))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Frozen":
        """What `to` and its like call."""
        if isinstance(self.asked, nn.Module):
            self.asked._apply(fn, recurse)
        super()._apply(fn, recurse)
        return self


def as_seen(images: Tensor, ours: Any, theirs: Any) -> Tensor:
    """Images (B, C, *size) prepared as `ours` says → as `theirs` says.

    Both have a mean and a std of each channel, and a size (height, width); where one is None, the
    images stay. Grey images become three channels alike, colours their mean. No border is cut off:
    what one network sees, all of it, the other sees too.
    """
    if ours is None or theirs is None:
        return images
    have, want = len(ours.mean), len(theirs.mean)
    if have != want and 1 not in (have, want):
        raise DataError(f"images of {have} channels, and what is asked of them sees {want}.")
    if (ours.mean, ours.std) != (theirs.mean, theirs.std):
        mean, std, mean_there, std_there = (
            images.new_tensor(values).view(-1, *[1] * (images.ndim - 2))
            for values in (ours.mean, ours.std, theirs.mean, theirs.std)
        )
        images = (images * std + (mean - mean_there)) / std_there
        images = images.mean(dim=1, keepdim=True) if want == 1 else images
    if images.ndim == 4 and tuple(images.shape[2:]) != tuple(theirs.size):
        mode = getattr(theirs, "interpolation", "bicubic")
        images = F.interpolate(images, theirs.size, mode=mode, antialias=mode != "nearest")
    return images
