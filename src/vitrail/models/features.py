"""Tokens between two stages of a model."""

from collections import abc
from typing import Any, Literal, NamedTuple, SupportsIndex, overload

from torch import Tensor

from vitrail.errors import DataError, TierError, suggest
from vitrail.layers.tokens import take


class Features(NamedTuple):
    """Tokens between two stages of a model; prefix tokens and patches never share an index space.

    Args:
        patches: (B, N, D).
        prefix: (B, P, D), class, distillation and register tokens; P may be 0.
        grid: (H, W), (T, H, W) or (L,), patches per axis of the whole image.
        keep_indices: (B, N), positions in the grid of the patches that were not dropped; None if
            none was.
        extras: what a model carries beside its patches, such as a second scale.

    Example:
        >>> features = Features.from_map(torch.zeros(2, 4, 6, 8))
        >>> features.patches.shape, features["grid"]
        (torch.Size([2, 24, 8]), (4, 6))
        >>> patches, prefix, grid = features[:3]
    """

    patches: Tensor
    prefix: Tensor
    grid: tuple[int, ...]
    keep_indices: Tensor | None = None
    extras: tuple[Any, ...] = ()

    @overload
    def __getitem__(self, key: Literal["patches", "prefix"]) -> Tensor: ...
    @overload
    def __getitem__(self, key: Literal["grid"]) -> tuple[int, ...]: ...
    @overload
    def __getitem__(self, key: Literal["keep_indices"]) -> Tensor | None: ...
    @overload
    def __getitem__(self, key: Literal["extras"]) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, key: SupportsIndex) -> Any: ...
    @overload
    def __getitem__(self, key: slice) -> tuple[Any, ...]: ...
    def __getitem__(self, key: str | SupportsIndex | slice) -> object:
        """A field by its name, as timm's and DINOv2's dictionaries have it, or by its index."""
        if not isinstance(key, str):
            return tuple.__getitem__(self, key)
        if key not in self._fields:
            hint = suggest(key, self._fields)
            raise KeyError(f"{key}: Features has {', '.join(self._fields)}.{hint}")
        return getattr(self, key)

    @classmethod
    def from_map(cls, x: Tensor, prefix: Tensor | None = None) -> "Features":
        """Features of a feature map, without a copy.

        Args:
            x: (B, *grid, D), channels last.
            prefix: (B, P, D); None for no prefix tokens.

        Returns:
            Features with N = prod(grid) patches.

        Raises:
            DataError: `x` has no axes of a grid.
        """
        if x.ndim < 3:
            raise DataError(
                f"a map of shape {tuple(x.shape)} has no grid: give (batch, *grid, channels)."
            )
        patches = x.flatten(1, -2)
        return cls(patches, patches[:, :0] if prefix is None else prefix, tuple(x.shape[1:-1]))

    def take(self, index: Tensor) -> "Features":
        """Keeps some of the patches.

        Args:
            index: (B, K), indices into `patches`, sorted because order matters to scans.

        Returns:
            Features with K patches.
        """
        keep_indices = index if self.keep_indices is None else self.keep_indices.gather(1, index)
        return self._replace(patches=take(self.patches, index), keep_indices=keep_indices)

    def to_map(self, *, channels_first: bool = False) -> Tensor:
        """The patches as a feature map, without a copy.

        Args:
            channels_first: gives (B, D, *grid) instead of (B, *grid, D).

        Returns:
            (B, *grid, D), or (B, D, *grid).

        Raises:
            TierError: patches were dropped, so they fill no grid.
        """
        if self.keep_indices is not None:
            raise TierError("patches were dropped, so the rest fills no grid: mask them instead.")
        x = self.patches.unflatten(1, self.grid)
        return x.movedim(-1, 1) if channels_first else x


class TokenSequence(NamedTuple):
    """Features as the one sequence that the blocks of a `SequenceBackbone` see.

    Args:
        tokens: (B, P + N, D).
        context: extra arguments that every block is called with, such as rotations.
        to_features: function from tokens of the same shape back to Features.

    Example:
        >>> model = vitrail.ViT(32, 8, num_classes=5, dim=8, depth=1, heads=2, mlp_dim=16)
        >>> model.to_sequence(model.embed(torch.zeros(1, 3, 32, 32))).tokens.shape
        torch.Size([1, 17, 8])
    """

    tokens: Tensor
    context: tuple[Any, ...]
    to_features: abc.Callable[[Tensor], Features]

    def reordered(self, order: Tensor) -> "TokenSequence":
        """The tokens in another order; the context stays, as it belongs to slots of the sequence.

        Args:
            order: (P + N,), indices into `tokens`.

        Returns:
            A sequence whose `to_features` brings the tokens back to their order.
        """
        order = order.to(self.tokens.device)
        inverse = order.argsort()
        return self._replace(
            tokens=self.tokens.index_select(1, order),
            to_features=lambda tokens: self.to_features(tokens.index_select(1, inverse)),
        )
