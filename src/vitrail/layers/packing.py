"""Sequences of different lengths in one tensor, one after the other, without padding or masks.

NaViT packs images like this (Dehghani et al. 2023, https://arxiv.org/abs/2307.06304).
"""

import itertools
from collections import abc
from typing import NamedTuple

import torch
from torch import Tensor

from vitrail.errors import TierError
from vitrail.layers.recording import RecordedMixer
from vitrail.ops.guard import guarded


class Pack(NamedTuple):
    """Layout of a packed batch, whose images are sorted by their number of tokens.

    Attributes:
        groups: one (number of images, tokens per image) per run of images with equally many tokens.
        order: for each image of the pack, its index in the caller's list.
        offsets: (images + 1,), the first token of each image, and the total.

    Example:
        >>> pack = Pack.of([4, 4, 9], (0, 2, 1), torch.device("cpu"))
        >>> pack.groups, pack.offsets.tolist()
        (((2, 4), (1, 9)), [0, 4, 8, 17])
    """

    groups: tuple[tuple[int, int], ...]
    order: tuple[int, ...]
    offsets: Tensor

    @classmethod
    def of(cls, lengths: abc.Sequence[int], order: tuple[int, ...], device: torch.device) -> "Pack":
        """Builds the layout of a batch.

        Args:
            lengths: number of tokens of each image, sorted.
            order: for each image, its index in the caller's list.
            device: device of `offsets`.

        Returns:
            The layout.
        """
        groups = tuple((len(list(same)), n) for n, same in itertools.groupby(lengths))
        return cls(groups, order, torch.tensor([0, *itertools.accumulate(lengths)], device=device))

    def single(self) -> "Pack":
        """The layout of the same images with one token each."""
        groups = tuple((count, 1) for count, _ in self.groups)
        return Pack(groups, self.order, torch.arange(len(self.offsets), device=self.offsets.device))

    @property
    def lengths(self) -> list[int]:
        """Number of tokens of each image."""
        return [n for count, n in self.groups for _ in range(count)]

    def split(self, x: Tensor) -> list[Tensor]:
        """x (total, ...) → per group, a view (images, tokens, ...)."""
        parts = x.split([count * n for count, n in self.groups])
        return [part.unflatten(0, group) for part, group in zip(parts, self.groups, strict=True)]

    def nest(self, x: Tensor) -> Tensor:
        """x (total, ...) → a nested tensor (images, tokens, ...)."""
        low, high = min(self.lengths), max(self.lengths)
        return torch.nested.nested_tensor_from_jagged(
            x.contiguous(), self.offsets, min_seqlen=low, max_seqlen=high
        )


@guarded
def attend_within(
    attend: RecordedMixer, parts: abc.Sequence[tuple[Pack, Tensor]], nested: bool
) -> Tensor:
    """Attention of each image of a packed batch to its own tokens.

    Args:
        attend: the attention.
        parts: queries (Q, H, d), keys (N, H, d) and values (N, H, d), each with its layout.
        nested: whether to compute all images in one call on nested tensors, whose kernels only
            GPUs have; False for one call per group of images with equally many tokens.

    Returns:
        (Q, H, d).

    Raises:
        TierError: the weights are recorded, and images have different numbers of tokens.

    Example:
        >>> from vitrail.layers.attention import Attend
        >>> pack = Pack.of([4, 9], (0, 1), torch.device("cpu"))
        >>> attend_within(Attend(), [(pack, torch.zeros(13, 2, 8))] * 3, nested=False).shape
        torch.Size([13, 2, 8])
    """
    if nested:
        q, k, v = (pack.nest(x).transpose(1, 2) for pack, x in parts)
        return attend(q, k, v).transpose(1, 2).values()
    groups = list(zip(*(pack.split(x) for pack, x in parts), strict=True))
    if attend.recorder is not None and len(groups) > 1:
        raise TierError(
            "the attention weights of images with different numbers of patches do not fit into "
            "one tensor: record images of one size at a time."
        )
    outputs = [attend(*(x.transpose(1, 2) for x in group)).transpose(1, 2) for group in groups]
    return torch.cat([x.flatten(0, 1) for x in outputs])
