"""The contract of every model, and all that can be said once for all of them.

image ─embed→ Features(patches, prefix, grid) ─encode→ Features ─pool→ (B, D) ─head→ logits
"""

import inspect
from collections import abc
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitrail.errors import ConfigError, TierError, suggest
from vitrail.layers.patch import to_tuple
from vitrail.layers.tokens import take

# How the names of learned tokens, positions and biases of offsets end: no products' weights.
TABLES = (
    "position", "class_token", "distillation_token", "mask_token", "query", "registers",
    "bias_table",
)  # fmt: skip


class Features(NamedTuple):
    """Tokens between two stages of a model. Prefix tokens and patches never share an index."""

    patches: Tensor  # (B, N, D)
    prefix: Tensor  # (B, P, D): class, distillation, register tokens; P may be 0
    grid: tuple[int, ...]  # (H, W), (T, H, W) or (L,) of the whole image
    keep_indices: Tensor | None = None  # (B, N): which places of the grid `patches` holds; None: all
    extras: tuple[Any, ...] = ()  # what a model carries beside its patches, such as a second scale

    @classmethod
    def from_map(cls, x: Tensor, prefix: Tensor | None = None) -> "Features":
        """Features of a map (B, *grid, D), channels last: no copy."""
        patches = x.flatten(1, -2)
        return cls(patches, patches[:, :0] if prefix is None else prefix, tuple(x.shape[1:-1]))

    def take(self, index: Tensor) -> "Features":
        """Only the patches at index (B, K). Keep it sorted: order matters to scans."""
        kept = index if self.keep_indices is None else self.keep_indices.gather(1, index)
        return self._replace(patches=take(self.patches, index), keep_indices=kept)

    def to_map(self) -> Tensor:
        """Patches as a map (B, *grid, D), channels last: no copy."""
        if self.keep_indices is not None:
            raise TierError("patches were dropped: what is left is no full grid to draw as a map.")
        return self.patches.unflatten(1, self.grid)

    def image(self) -> Tensor:
        """Patches as a map (B, D, *grid), channels first."""
        return self.to_map().movedim(-1, 1)


class TokenSequence(NamedTuple):
    """Features as one sequence, for the blocks of a `SequenceBackbone`."""

    tokens: Tensor  # (B, P + N, D)
    context: tuple[Any, ...]  # what each block takes beside the tokens
    rolled: abc.Callable[[Tensor], Features]  # tokens of the same shape → Features


class Variant(NamedTuple):
    """A named set of constructor keywords."""

    keywords: abc.Mapping[str, Any]
    parameters: int  # as published
    absent: int = 0  # of these, how many Vitrail does not need; the model's file says which


class _Recorded(type):
    """Makes the constructor the config: checks the keywords, and remembers them in `config`."""

    def __call__(cls, *args: Any, **keywords: Any) -> Any:
        signature = inspect.signature(cls.__init__)  # type: ignore[misc]
        names = list(signature.parameters)[1:]
        for name in keywords:
            if name not in names:
                raise ConfigError(
                    f"{cls.__name__} has no keyword {name!r}.{suggest(name, names)} "
                    f"It takes: {', '.join(names)}."
                )
        try:
            bound = signature.bind(None, *args, **keywords)
        except TypeError as problem:
            raise ConfigError(f"{cls.__name__}: {problem}.") from None
        model = super().__call__(*args, **keywords)
        bound.apply_defaults()
        model.config = dict(list(bound.arguments.items())[1:])
        model.init_weights()
        return model


class Backbone(nn.Module, metaclass=_Recorded):
    """What every model is: `embed`, `encode`, `pool`, `head`.

    A model sets, before anything else, what `Backbone.__init__` takes, and then `blocks`, `norm`
    and `head`. `config` holds the constructor's keywords and rebuilds the model. Blocks that take
    something else than Features need an `intermediates` of their own.
    """

    axes: tuple[int, ...] = (2,)  # how many its images may have; an int as image_size: the first
    late: tuple[str, ...] = ("norm", "head")  # parts behind the blocks, for `layer_of`
    config: dict[str, Any]
    dim: Any  # width of tokens; of a pyramid, one a stage
    grid: tuple[int, ...]  # of patches, at image_size
    blocks: nn.ModuleList
    head: nn.Module

    def __init__(self, image_size: int | tuple[int, ...], channels: int, num_classes: int) -> None:
        super().__init__()
        self.image_size = to_tuple(image_size, self.axes)
        self.channels = channels
        self.num_classes = num_classes
        self.gradient_checkpointing = False
        # Travels with the weights; set by loading and training.
        self.preprocess: Any = None
        self.labels: list[str] | None = None
        self.origin = ""

    def embed(self, images: Tensor) -> Features:
        """images (B, C, *size) → Features with positions added."""
        raise NotImplementedError

    def encode(self, features: Features) -> Features:
        """Features → Features of the same kind, through all blocks and the last norm."""
        raise NotImplementedError

    def pool(self, features: Features) -> Tensor:
        """Features → (B, D), what the head reads."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → logits (B, num_classes)."""
        features = self.embed(images)
        features = self.encode(features)
        pooled = self.pool(features)
        return self.head(pooled)

    def features(self, images: Tensor) -> Features:
        """images (B, C, *size) → Features after the last norm."""
        return self.encode(self.embed(images))

    @property
    def depth(self) -> int:
        """How many blocks there are."""
        return len(self.blocks)

    @property
    def pooled_dim(self) -> int:
        """The width of what `pool` gives and the head reads."""
        return self.dim if isinstance(self.dim, int) else self.dim[-1]

    def make_head(self, num_classes: int) -> nn.Module:
        """A fresh head on pooled features; no classes, no head."""
        return nn.Linear(self.pooled_dim, num_classes) if num_classes else nn.Identity()

    def reset_head(self, num_classes: int) -> None:
        """Replaces the head by a freshly initialised one. 0 leaves the pooled features."""
        like = next(self.parameters())
        self.head = self.make_head(num_classes).to(like.device, like.dtype)
        initialise(self.head)
        self.num_classes = self.config["num_classes"] = num_classes

    def cut(self, depth: int) -> None:
        """Keeps only the first `depth` blocks: the features of a middle layer, normalised."""
        if not isinstance(depth, int) or not 1 <= depth <= self.depth:
            raise ConfigError(f"depth={depth!r} is not within 1 to {self.depth}.")
        self.blocks = self.blocks[:depth]
        self.config["depth"] = depth

    def intermediates(self, images: Tensor, layers: abc.Sequence[int]) -> list[Features]:
        """Features after the given blocks, without the last norm. Negative indices count back."""
        wanted, features, caught = self._block_indices(layers), self.embed(images), []
        for block in self.blocks[: max(wanted) + 1]:
            features = block(features)
            caught.append(features)
        return [caught[i] for i in wanted]

    def init_weights(self) -> None:
        """Initialises every parameter, as `initialise` does."""
        initialise(self)

    def run_blocks(self, x: Any, *context: Any) -> Any:
        """x through all blocks; recomputes them in the backward pass if asked to."""
        for block in self.blocks:
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, *context, use_reentrant=False)
            else:
                x = block(x, *context)
        return x

    def layer_of(self, parameter: str) -> int:
        """0 for a parameter of the embedding, i + 1 of block i, depth + 1 of what comes after."""
        part, _, rest = parameter.partition(".")
        if part == "blocks":
            return int(rest.partition(".")[0]) + 1
        return self.depth + 1 if part in self.late else 0

    def positions_at(self, grid: tuple[int, ...]) -> Tensor | None:
        """The table of learned positions resampled to another grid; None: the model has none."""
        return None

    def weights_for(self, other: "Backbone") -> dict[str, Tensor] | None:
        """The weights for `other`, this model at another image_size: positions resampled.

        None: no positions are learned, and this model serves any size as it is.
        """
        table = self.positions_at(other.grid)
        return None if table is None else {**self.state_dict(), "position": table}

    def freeze(self, layers: int | None = None) -> None:
        """Freezes all below layer `layers`, as `layer_of` counts; None: all but the head."""
        for name, parameter in self.named_parameters():
            if layers is None:
                parameter.requires_grad = name.startswith("head.")
            else:
                parameter.requires_grad = self.layer_of(name) >= layers

    def needs_all(self, features: Features) -> None:
        """Raises `TierError` if patches were dropped from what this model needs whole."""
        if features.keep_indices is not None:
            raise TierError(
                f"{type(self).__name__} needs every patch of the grid: mask, do not drop."
            )

    def _block_indices(self, layers: abc.Sequence[int]) -> list[int]:
        """Resolves negative indices; raises `ConfigError` for a block that is not there."""
        for layer in layers:
            if not -self.depth <= layer < self.depth:
                raise ConfigError(
                    f"layer {layer} is not in this model: it has blocks 0 to {self.depth - 1}."
                )
        return [layer % self.depth for layer in layers]


class SequenceBackbone(Backbone):
    """The tier of models whose patches may be dropped: every method can train them.

    Prefix tokens stand before the patches in the sequence that the blocks see; a model that puts
    them elsewhere overrides `to_sequence`, and nobody else needs to know.
    """

    norm: nn.Module

    def to_sequence(self, features: Features) -> "TokenSequence":
        """Features → the sequence that the blocks see, and the way back."""
        prefix = features.prefix.shape[1]

        def rolled(tokens: Tensor) -> Features:
            return features._replace(prefix=tokens[:, :prefix], patches=tokens[:, prefix:])

        tokens = torch.cat([features.prefix, features.patches], dim=1)
        return TokenSequence(tokens, self.context(features), rolled)

    def context(self, features: Features) -> tuple[Any, ...]:
        """What the blocks need beside the tokens, such as rotations."""
        return ()

    def encode(self, features: Features) -> Features:
        """Features → Features of the same shapes, normalised."""
        tokens, context, rolled = self.to_sequence(features)
        return rolled(self.norm(self.run_blocks(tokens, *context)))

    def intermediates(self, images: Tensor, layers: abc.Sequence[int]) -> list[Features]:
        """Features after the given blocks, without the last norm. Negative indices count back."""
        wanted, caught = self._block_indices(layers), {}
        tokens, context, rolled = self.to_sequence(self.embed(images))
        for i, block in enumerate(self.blocks[: max(wanted) + 1]):
            tokens = block(tokens, *context)
            if i in wanted:
                caught[i] = rolled(tokens)
        return [caught[i] for i in wanted]


class PyramidStage(nn.Module):
    """A stage of a pyramid: first a coarser grid, then blocks. Both see maps (B, H, W, D)."""

    def __init__(self, downsample: nn.Module, blocks: abc.Iterable[nn.Module]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.ModuleList(blocks)

    def forward(self, features: Features) -> Features:
        """Features on a grid → Features on this stage's."""
        x = self.downsample(features.to_map())
        for block in self.blocks:
            x = block(x)
        return Features.from_map(x)


class PyramidBackbone(Backbone):
    """The tier of models that need the whole grid: patches may be masked, not dropped.

    Its `blocks` are stages, each a module from Features to Features, most on a coarser grid than
    the one before: `PyramidStage`, or one that does more. `strides` says how coarse.
    """

    norm: nn.Module
    dim: tuple[int, ...]  # width of each stage
    strides: tuple[int, ...]  # pixels a place of each stage's grid stands for

    def encode(self, features: Features) -> Features:
        """Features on the finest grid → normalised Features on the coarsest."""
        self.needs_all(features)
        features = self.run_blocks(features)
        return features._replace(patches=self.norm(features.patches))

    def pool(self, features: Features) -> Tensor:
        """Features → the mean of the patches (B, D)."""
        return features.patches.mean(dim=1)

    def cut(self, depth: int) -> None:
        """Raises `TierError`: the last norm fits the last stage only."""
        raise TierError(
            f"{type(self).__name__} cannot be cut to depth={depth}: take `intermediates` instead."
        )


def initialise(module: nn.Module) -> None:
    """Initialises every parameter: linear layers truncated-normal (std 0.02), norms to 1.

    So are tokens and tables of positions, wherever they stand: their names end with TABLES.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif callable(reset := getattr(part, "reset_parameters", None)):
            reset()
    for name, parameter in module.named_parameters():
        if name.endswith(TABLES):
            nn.init.trunc_normal_(parameter, std=0.02)


def undecayed(module: nn.Module) -> set[str]:
    """Parameters that weight decay must leave alone: all vectors, and tokens and positions.

    Beside them, what a module's `undecayed` names.
    """
    modules = module.named_modules()
    own = {f"{path}.{n}".strip(".") for path, m in modules for n in getattr(m, "undecayed", ())}
    return own | {
        name
        for name, parameter in module.named_parameters()
        if parameter.ndim < 2 or name.endswith(TABLES)
    }
