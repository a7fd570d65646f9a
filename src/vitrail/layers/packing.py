"""Sequences of many lengths in one tensor, one behind the other, without padding or masks.

NaViT packs images like that (Dehghani et al. 2023, https://arxiv.org/abs/2307.06304).
"""

import itertools
from collections import abc
from typing import NamedTuple

import torch
from torch import Tensor

from vitrail.errors import TierError
from vitrail.layers.attention import Attend


class Pack(NamedTuple):
    """Whose tokens stand where in a sequence. Images with equally many are neighbours: a group."""

    groups: tuple[tuple[int, int], ...]  # (images, tokens of each)
    order: tuple[int, ...]  # which image of the list each one is
    offsets: Tensor  # (images + 1,): where each one begins, and the end

    @classmethod
    def of(cls, lengths: abc.Sequence[int], order: tuple[int, ...], device: torch.device) -> "Pack":
        """A pack of images with so many tokens each."""
        groups = tuple((len(list(same)), n) for n, same in itertools.groupby(lengths))
        return cls(groups, order, torch.tensor([0, *itertools.accumulate(lengths)], device=device))

    def single(self) -> "Pack":
        """The same images with one token each."""
        groups = tuple((count, 1) for count, _ in self.groups)
        return Pack(groups, self.order, torch.arange(len(self.offsets), device=self.offsets.device))

    @property
    def lengths(self) -> list[int]:
        """Tokens of each image."""
        return [n for count, n in self.groups for _ in range(count)]

    def split(self, x: Tensor) -> list[Tensor]:
        """x (total, ...) → a view (images, tokens, ...) of each group."""
        parts = x.split([count * n for count, n in self.groups])
        return [part.unflatten(0, group) for part, group in zip(parts, self.groups, strict=True)]

    def nest(self, x: Tensor) -> Tensor:
        """x (total, ...) → a nested tensor (images, tokens, ...)."""
        low, high = min(self.lengths), max(self.lengths)
        return torch.nested.nested_tensor_from_jagged(
            x.contiguous(), self.offsets, min_seqlen=low, max_seqlen=high
        )


def attend_within(attend: Attend, parts: abc.Sequence[tuple[Pack, Tensor]], nested: bool) -> Tensor:
    """Queries (Q, H, d), keys and values (N, H, d), each with its pack → (Q, H, d).

    Each image's queries see its own tokens. One call for all images with equally many; or `nested`,
    one for all: kernels for many lengths at once, which only GPUs have.
    """
    if nested:
        q, k, v = (pack.nest(x).transpose(1, 2) for pack, x in parts)
        return attend(q, k, v).transpose(1, 2).values()
    groups = list(zip(*(pack.split(x) for pack, x in parts), strict=True))
    if attend.tap is not None and len(groups) > 1:
        raise TierError(
            "where images with different numbers of patches look is not one table: "
            "record them one size at a time."
        )
    seen = [attend(*(x.transpose(1, 2) for x in group)).transpose(1, 2) for group in groups]
    return torch.cat([x.flatten(0, 1) for x in seen])
