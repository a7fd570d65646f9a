"""Attention within windows, folded back to the layer's grid."""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from vitrail.errors import TierError
from vitrail.lens.layer_keys import LayerKey, layer_paths, recorded_mixers, select_position
from vitrail.lens.record import recording
from vitrail.models.base import Backbone


@runtime_checkable
class Windowed(Protocol):
    """A module that attends within windows of its feature map (B, H, W, D).

    Example:
        >>> from vitrail.layers.attention import Attention
        >>> from vitrail.layers.window import WindowAttention
        >>> isinstance(WindowAttention(Attention(8, heads=2), (2, 2)), Windowed)
        True
    """

    def cell_index(self, size: tuple[int, int]) -> Tensor:
        """size (H, W) of the map → (windows, tokens), the cell of each token, -1 for padding."""


class Windows(NamedTuple):
    """The windows of a layer in one forward pass.

    Args:
        cells: (windows, T), the cell of each token, -1 for padding.
        size: (H, W) of the layer's grid.

    Example:
        >>> windows = Windows(torch.tensor([[0, 1], [2, 3]]), (2, 2))
        >>> windows.received(torch.full((2, 1, 2, 2), 0.5))
        tensor([[[[1., 1.],
                  [1., 1.]]]])
    """

    cells: Tensor
    size: tuple[int, int]

    def received(self, weights: Tensor) -> Tensor:
        """What each cell receives: the sum over the queries of its window, padding left out.

        Args:
            weights: (B · windows, heads, T, T).

        Returns:
            (B, heads, H, W).
        """
        index = self.cells.to(weights.device)
        by_window = weights.unflatten(0, (-1, len(index)))  # (B, windows, heads, T, T)
        queries = (index >= 0)[None, :, None, :, None]
        keys = (by_window * queries).sum(dim=-2).transpose(1, 2).flatten(2)
        cells = keys.new_zeros(*keys.shape[:2], self.size[0] * self.size[1] + 1)
        # Padding goes to one more cell, which is dropped.
        where = torch.where(index < 0, cells.shape[-1] - 1, index).flatten().expand_as(keys)
        return cells.scatter_add(-1, where, keys)[..., :-1].unflatten(-1, self.size)


def windowed_modules(model: nn.Module) -> dict[LayerKey, nn.Module]:
    """The modules that compute attention within windows.

    Args:
        model: any model.

    Returns:
        By the key of the attention layer, as in `layer_paths`.

    Example:
        >>> model = vitrail.create_model("swin_tiny_patch4_window7_224", num_classes=0)
        >>> len(windowed_modules(model))
        12
    """
    modules = dict(model.named_modules())
    inside: dict[LayerKey, nn.Module] = {}
    for key, path in layer_paths(model).items():
        parts = path.split(".")
        for count in range(len(parts)):
            if isinstance(module := modules[".".join(parts[: count + 1])], Windowed):
                inside[key] = cast(nn.Module, module)
    return inside


def is_windowed(model: nn.Module) -> bool:
    """Whether every attention layer of a model attends within windows.

    Args:
        model: any model.

    Returns:
        False also where it has no attention.

    Example:
        >>> is_windowed(vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8))
        False
    """
    try:
        return len(windowed_modules(model)) == len(layer_paths(model))
    except TierError:
        return False


@contextlib.contextmanager
def recorded_windows(model: nn.Module, windows: dict[LayerKey, Windows]) -> Iterator[None]:
    """Within the context, every forward notes the windows of its layers.

    Args:
        model: the model.
        windows: filled by the key of the attention layer.

    Returns:
        A context manager.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> with recorded_windows(model, windows := {}):
        ...     logits = model(torch.zeros(1, 3, 8, 8))
        >>> windows
        {}
    """

    def noting(key: LayerKey) -> Any:
        def note(module: nn.Module, args: tuple[Any, ...]) -> None:
            if isinstance(module, Windowed):
                size = (args[0].shape[1], args[0].shape[2])
                windows[key] = Windows(module.cell_index(size), size)

        return note

    with contextlib.ExitStack() as hooks:
        for key, module in windowed_modules(model).items():
            hooks.callback(module.register_forward_pre_hook(noting(key)).remove)
        yield


@torch.no_grad()
def received_attention(model: Backbone, images: Tensor, layer: int = -1) -> Tensor:
    """The attention that each cell receives in a layer that attends within windows.

    Args:
        model: the model, in evaluation mode.
        images: normalized images (B, C, *size).
        layer: position of the attention layer; negative ones count from the end.

    Returns:
        (B, heads, H, W), the grid of the layer's stage. Equal attention to all gives 1.

    Raises:
        ConfigError: there is no such layer.
        TierError: the layer does not attend within windows.

    Example:
        >>> model = vitrail.Swin(16, 4, num_classes=5, dim=(8, 16), depth=(2, 1), heads=(2, 2),
        ...                      window=2).eval()
        >>> received_attention(model, torch.zeros(1, 3, 16, 16), 0).shape
        torch.Size([1, 2, 4, 4])
    """
    keys = list(recorded_mixers(model))
    key = keys[select_position(layer, len(keys))]
    if key not in windowed_modules(model):
        raise TierError(f"attention layer {key!r} does not attend within windows.")
    weights: list[Tensor] = []
    windows: dict[LayerKey, Windows] = {}
    with recorded_windows(model, windows), recording(model, lambda _, w: weights.append(w), [key]):
        model.features(images)
    return windows[key].received(weights[0])
