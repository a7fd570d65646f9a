"""Which attention layers a model has, and how they are named and selected."""

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from vitrail.errors import ConfigError, TierError
from vitrail.hub.fitting import unwrapped
from vitrail.layers.recording import RecordedMixer
from vitrail.models.tiers import PyramidBackbone
from vitrail.values import resolve_indices

LayerKey = int | str  # index of a block, or path of a module


class Maps(dict[LayerKey, Tensor]):
    """Recorded attention weights (B, heads, N, N) by layer; row i belongs to query i.

    Its keys are those of `layer_paths`: the index of the block, or the path of the module where a
    block has several attention layers. The path finds a layer in either case, and negative numbers
    count from the last layer.

    Args:
        paths: the path of each layer by its key.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=2, heads=2, mlp_dim=8)
        >>> with vitrail.record(model) as maps:
        ...     logits = model(torch.zeros(1, 3, 8, 8))
        >>> maps["blocks.1.mixer.attend"] is maps[1] is maps[-1]
        True
        >>> len(maps.block(0))
        1
    """

    def __init__(self, paths: Mapping[LayerKey, str]) -> None:
        super().__init__()
        self.paths = dict(paths)

    def __missing__(self, key: LayerKey) -> Tensor:
        try:
            (own,) = select_layers([key], self.paths)
        except ConfigError as problem:
            raise KeyError(str(problem)) from None
        if own not in self:
            raise KeyError(f"layer {key!r} was not recorded: give it in layers, and run the model.")
        return self[own]

    def block(self, index: int) -> list[Tensor]:
        """The weights of every attention layer of a block, in a pyramid of a stage.

        Args:
            index: index of the block; negative ones count from the end.

        Returns:
            (B, heads, N, N) of each layer; empty if the block has none.

        Raises:
            ConfigError: there is no such block.
        """
        blocks = {key: _block_of(path) for key, path in self.paths.items()}
        count = 1 + max((block for block in blocks.values() if block is not None), default=-1)
        (index,) = resolve_indices([index], count, "block")
        return [self[key] for key, block in blocks.items() if block == index and key in self]


def layer_paths(model: nn.Module) -> dict[LayerKey, str]:
    """The attention layers of a model, in the order of its modules.

    Args:
        model: any module.

    Returns:
        Paths of the modules by key. Where each of the model's `blocks` holds at most one layer, the
        key is the index of the block. In pyramids, where `blocks` are stages, in models with
        several layers per block, and for layers outside `blocks`, it is the path itself, such as
        "blocks.0.blocks.1.mixer.attend".

    Raises:
        TierError: there are none.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=2, heads=2, mlp_dim=8)
        >>> layer_paths(model)
        {0: 'blocks.0.mixer.attend', 1: 'blocks.1.mixer.attend'}
    """
    model = unwrapped(model)
    paths = [path for path, m in model.named_modules() if isinstance(m, RecordedMixer)]
    if not paths:
        raise TierError(f"{type(model).__name__} has no attention to record.")
    blocks = [block for path in paths if (block := _block_of(path)) is not None]
    several = isinstance(model, PyramidBackbone) or len(set(blocks)) < len(blocks)
    keys = [path if several or (block := _block_of(path)) is None else block for path in paths]
    return dict(zip(keys, paths, strict=True))


def recorded_mixers(model: nn.Module) -> dict[LayerKey, RecordedMixer]:
    """The token mixers of a model whose weights can be recorded.

    Args:
        model: any module.

    Returns:
        The mixers by the keys of `layer_paths`.

    Raises:
        TierError: there are none.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=2, heads=2, mlp_dim=8)
        >>> list(recorded_mixers(model))
        [0, 1]
    """
    modules = dict(unwrapped(model).named_modules())
    mixers = {key: modules[path] for key, path in layer_paths(model).items()}
    return {key: mixer for key, mixer in mixers.items() if isinstance(mixer, RecordedMixer)}


def select_layers(layers: Sequence[LayerKey], paths: Mapping[LayerKey, str]) -> list[LayerKey]:
    """The keys of selected layers.

    Args:
        layers: keys; paths of modules; numbers below 0, which count from the last layer; or where
            all keys are paths, positions.
        paths: the path of each layer by its key, as `layer_paths` gives them.

    Returns:
        Keys, each once, in the order of the layers.

    Raises:
        ConfigError: a layer does not exist.

    Example:
        >>> select_layers([-1, "blocks.0.mixer"], {0: "blocks.0.mixer", "pool": "pool"})
        [0, 'pool']
    """
    if isinstance(layers, str) or not isinstance(layers, Iterable):
        raise ConfigError(f"layers={layers!r} is no list of layers: give [{layers!r}].")
    keys, by_path = list(paths), {path: key for key, path in paths.items()}
    blocks = [key for key in keys if isinstance(key, int)]
    selected = set()
    for layer in layers:
        if isinstance(layer, str) and layer in by_path:
            selected.add(by_path[layer])
        elif layer in blocks and type(layer) is int:
            selected.add(layer)
        elif isinstance(layer, str) or (blocks and type(layer) is int and layer >= 0):
            whole = blocks == list(range(len(blocks))) == keys
            names = f"0 to {blocks[-1]}" if whole else ", ".join(map(str, keys))
            raise ConfigError(f"attention layer {layer!r} does not exist: there are {names}.")
        else:
            (position,) = resolve_indices([layer], len(keys), "attention layer")
            selected.add(keys[position])
    return [key for key in keys if key in selected]


def sorted_indices(indices: Sequence[int], count: int, what: str) -> list[int]:
    """Indices from 0, sorted and each once, where negative ones count from the end.

    Args:
        indices: the indices to resolve.
        count: the number of items.
        what: what an item is, for the error message.

    Returns:
        Indices within 0 to count - 1.

    Raises:
        ConfigError: an item does not exist, or there is none in the list.

    Example:
        >>> sorted_indices([-1, 0, 3], 4, "layer")
        [0, 3]
    """
    positions = sorted(set(resolve_indices(indices, count, what)))
    if not positions:
        raise ConfigError(f"no {what} is in []: there are 0 to {count - 1}.")
    return positions


def select_position(layer: int, count: int) -> int:
    """The position of an attention layer among those of a model.

    Args:
        layer: position; negative ones count from the end.
        count: number of attention layers.

    Returns:
        A position within 0 to count - 1.

    Raises:
        ConfigError: there is no such layer.

    Example:
        >>> select_position(-1, 12)
        11
    """
    if not -count <= layer < count:
        raise ConfigError(f"layer={layer}: this model has attention layers 0 to {count - 1}.")
    return layer % count


def _block_of(path: str) -> int | None:
    """The index of the block that a module is in; None outside `blocks`."""
    first, *rest = path.split(".")
    return int(rest[0]) if first == "blocks" else None
