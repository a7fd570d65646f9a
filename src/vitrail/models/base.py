"""The contract of every model, and what all models share.

image ─embed→ Features(patches, prefix, grid) ─encode→ Features ─pool→ (B, D) ─head→ logits
"""

import functools
from collections import abc
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitrail.errors import ConfigError, TierError
from vitrail.layers.patch import to_tuple
from vitrail.layers.tokens import take
from vitrail.models.paper import Paper
from vitrail.preprocess import Preprocess
from vitrail.values import bind


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
        >>> features.patches.shape, features.grid
        (torch.Size([2, 24, 8]), (4, 6))
    """

    patches: Tensor
    prefix: Tensor
    grid: tuple[int, ...]
    keep_indices: Tensor | None = None
    extras: tuple[Any, ...] = ()

    @classmethod
    def from_map(cls, x: Tensor, prefix: Tensor | None = None) -> "Features":
        """Features of a feature map, without a copy.

        Args:
            x: (B, *grid, D), channels last.
            prefix: (B, P, D); None for no prefix tokens.

        Returns:
            Features with N = prod(grid) patches.
        """
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


class Variant(NamedTuple):
    """A named set of constructor keywords.

    Args:
        keywords: constructor keywords by name.
        parameters: number of parameters as published, which the model has exactly.

    Example:
        >>> from vitrail.models.registry import variants
        >>> variants()["vit_base_patch16_224"].variant.parameters
        86567656
    """

    keywords: abc.Mapping[str, Any]
    parameters: int


class Backbone(nn.Module):
    """Base class of all models: `embed`, `encode`, `pool`, `head`, and `forward` calls the four.

    A subclass calls `super().__init__(image_size, channels, num_classes)` first, and then defines
    `dim`, `grid`, `blocks`, `norm` and `head`. Keyword values are checked against the annotations
    of its constructor and recorded in `config`, from which the model can be built again. After the
    outermost constructor `init_weights` is called. A new model is in training mode.

    Args:
        image_size: pixels per axis; one number for all axes.
        channels: number of channels of an image.
        num_classes: width of the logits; 0 for no head.

    Attributes:
        axes: numbers of axes that an image may have; a single `image_size` is for the first.
        after_blocks: submodules after the last block, which share its top layer in layer-wise
            learning rate decay.
        config: keywords of the constructor, as plain values.
        preprocess: turns pictures into the input that the weights expect.
        labels: class names in the order of the logits, or None.
        origin: where the weights come from, or "".

    Raises:
        ConfigError: a keyword is unknown, or its value is not what it may be.

    Example:
        >>> model = vitrail.ViT(32, 8, num_classes=5, dim=8, depth=1, heads=2, mlp_dim=16)
        >>> model(torch.zeros(2, 3, 32, 32)).shape, model.config["dim"]
        (torch.Size([2, 5]), 8)
    """

    paper: ClassVar[Paper]
    axes: ClassVar[tuple[int, ...]] = (2,)
    after_blocks: ClassVar[tuple[str, ...]] = ("norm", "head")
    config: dict[str, Any]
    dim: Any  # width of a token; in a pyramid, one per stage
    grid: tuple[int, ...]  # patches per axis, at image_size
    blocks: nn.ModuleList
    head: nn.Module

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = _recording(cls.__init__)  # type: ignore[method-assign]

    def __init__(self, image_size: int | tuple[int, ...], channels: int, num_classes: int) -> None:
        super().__init__()
        self.image_size = to_tuple(image_size, self.axes)
        self.channels = channels
        self.num_classes = num_classes
        self.gradient_checkpointing = False
        self.preprocess = Preprocess.for_size(self.image_size, channels)
        self.labels: list[str] | None = None
        self.origin = ""

    def embed(self, images: Tensor) -> Features:
        """images (B, C, *size) → Features with positions added."""
        raise NotImplementedError

    def encode(self, features: Features) -> Features:
        """Features → Features of the same kind, after all blocks and the last norm."""
        raise NotImplementedError

    def pool(self, features: Features) -> Tensor:
        """Features → (B, D), the input of the head."""
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
        """The number of blocks, in a pyramid over all stages."""
        return len(self.block_modules())

    @property
    def pooled_dim(self) -> int:
        """The width of the head's input."""
        return self.dim if isinstance(self.dim, int) else self.dim[-1]

    def make_head(self, num_classes: int) -> nn.Module:
        """Builds a head on pooled features.

        Args:
            num_classes: width of the logits; 0 for none.

        Returns:
            A linear layer, or `nn.Identity` where there are no classes.
        """
        return nn.Linear(self.pooled_dim, num_classes) if num_classes else nn.Identity()

    def reset_head(self, num_classes: int) -> None:
        """Replaces the head with a freshly initialized one.

        Args:
            num_classes: width of the new logits; 0 leaves the pooled features.
        """
        like = next(self.parameters())
        self.head = self.make_head(num_classes).to(like.device, like.dtype)
        initialize(self.head)
        self.num_classes = self.config["num_classes"] = num_classes

    def cut(self, depth: int) -> None:
        """Drops the last blocks, to use the normalized features of a middle layer.

        Args:
            depth: number of entries of `blocks` that remain.

        Raises:
            ConfigError: the model has no such number of blocks.
        """
        if not isinstance(depth, int) or not 1 <= depth <= len(self.blocks):
            raise ConfigError(f"depth={depth!r} is not within 1 to {len(self.blocks)}.")
        self.blocks = self.blocks[:depth]
        self.config["depth"] = depth

    def intermediates(self, images: Tensor, layers: abc.Sequence[int]) -> list[Features]:
        """Features after some of the blocks, without the last norm.

        Args:
            images: (B, C, *size).
            layers: indices into `blocks`, in a pyramid of stages; negative ones count from the
                end.

        Returns:
            One Features per index, in the order of `layers`.

        Raises:
            ConfigError: the model has no such block.
        """
        indices, features, outputs = self.block_indices(layers), self.embed(images), []
        for block in self.blocks[: max(indices) + 1]:
            features = block(features)
            outputs.append(features)
        return [outputs[i] for i in indices]

    def block_indices(self, layers: abc.Sequence[int]) -> list[int]:
        """Resolves indices into `blocks`.

        Args:
            layers: indices; negative ones count from the end.

        Returns:
            The indices, none of them negative.

        Raises:
            ConfigError: there are no indices, or the model has no such block.
        """
        count = len(self.blocks)
        if not layers:
            raise ConfigError(f"layers is empty: give indices within 0 to {count - 1}.")
        for layer in layers:
            if not -count <= layer < count:
                raise ConfigError(
                    f"layer {layer} is not in this model: it has blocks 0 to {count - 1}."
                )
        return [layer % count for layer in layers]

    def init_weights(self) -> None:
        """Initializes every parameter; a model whose paper does it otherwise overrides this."""
        initialize(self)

    def run_blocks(self, x: Any, *context: Any) -> Any:
        """Applies all blocks, with gradient checkpointing if it is on.

        Args:
            x: input of the first block.
            context: extra arguments of every block.

        Returns:
            The output of the last block.
        """
        for block in self.blocks:
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, *context, use_reentrant=False)
            else:
                x = block(x, *context)
        return x

    def set_gradient_checkpointing(self, enable: bool = True) -> None:
        """Recomputes the blocks' activations in the backward pass, which saves memory.

        Args:
            enable: whether to.
        """
        self.gradient_checkpointing = enable

    def block_modules(self) -> list[list[nn.Module]]:
        """The modules of each layer for layer-wise learning rates: here one per block."""
        return [[block] for block in self.blocks]

    def layer_ids(self) -> dict[str, int]:
        """The layer of every parameter, for layer-wise learning rate decay and for `freeze`.

        Returns:
            By parameter name: 0 for the embedding, i + 1 for block i, depth + 1 for what comes
            after the blocks.
        """
        layers = {id(p): 0 for p in self.parameters()}
        for index, modules in enumerate(self.block_modules()):
            layers |= {id(p): index + 1 for m in modules for p in m.parameters()}
        for name in self.after_blocks:
            module = getattr(self, name, None)
            if isinstance(module, nn.Module):
                layers |= {id(p): self.depth + 1 for p in module.parameters()}
        return {name: layers[id(p)] for name, p in self.named_parameters()}

    def freeze(self, layers: int | None = None) -> None:
        """Freezes the lower layers.

        Args:
            layers: number of layers to freeze, counted as in `layer_ids`: 1 freezes the embedding,
                depth + 1 all but what comes after the blocks. None freezes all but the head.

        Raises:
            ConfigError: the model has no such number of layers.
        """
        if layers is None:
            for parameter in self.parameters():
                parameter.requires_grad = False
            for parameter in self.head.parameters():
                parameter.requires_grad = True
            return
        if not 0 <= layers <= self.depth + 2:
            raise ConfigError(
                f"layers={layers} is not within 0 to {self.depth + 2}: this model has an "
                f"embedding, {self.depth} blocks and a head."
            )
        ids = self.layer_ids()
        for name, parameter in self.named_parameters():
            parameter.requires_grad = ids[name] >= layers

    def weights_at(self, other: "Backbone") -> dict[str, Tensor] | None:
        """The state dict for this model at another image size.

        Args:
            other: a model of the same class and keywords, but for `image_size`.

        Returns:
            The state dict with all tables of positions resampled; None if there are none, so that
            the model serves any size as it is.
        """
        twins = dict(other.named_modules())
        resampled = {
            f"{path}.{name}".lstrip("."): tensor
            for path, module in self.named_modules()
            if (resample := getattr(module, "resampled_to", None)) is not None
            for name, tensor in resample(twins[path]).items()
        }
        return {**self.state_dict(), **resampled} if resampled else None

    def require_whole_grid(self, features: Features) -> None:
        """Checks that no patches were dropped.

        Args:
            features: input of `encode`.

        Raises:
            TierError: patches were dropped.
        """
        if features.keep_indices is not None:
            raise TierError(
                f"{type(self).__name__} needs every patch of the grid: mask, do not drop."
            )

    def forward_features(self, images: Tensor) -> Features:
        """images (B, C, *size) → Features after the last norm; timm's name for `features`."""
        return self.features(images)

    def forward_intermediates(self, images: Tensor, indices: abc.Sequence[int]) -> list[Features]:
        """images (B, C, *size) → Features after some blocks; timm's name for `intermediates`."""
        return self.intermediates(images, indices)

    def reset_classifier(self, num_classes: int) -> None:
        """Replaces the head with a freshly initialized one; timm's name for `reset_head`."""
        self.reset_head(num_classes)


class SequenceBackbone(Backbone):
    """The tier of models whose patches may be dropped, which every method can train.

    Prefix tokens come before the patches in the sequence that the blocks see. A model that inserts
    them elsewhere overrides `to_sequence`.

    Example:
        >>> model = vitrail.ViT(32, 8, num_classes=5, dim=8, depth=1, heads=2, mlp_dim=16)
        >>> half = model.embed(torch.zeros(1, 3, 32, 32)).take(torch.arange(8)[None])
        >>> model.encode(half).patches.shape
        torch.Size([1, 8, 8])
    """

    norm: nn.Module

    def to_sequence(self, features: Features) -> TokenSequence:
        """Features → the sequence of prefix tokens and patches that the blocks see."""
        prefix = features.prefix.shape[1]

        def to_features(tokens: Tensor) -> Features:
            return features._replace(prefix=tokens[:, :prefix], patches=tokens[:, prefix:])

        tokens = torch.cat([features.prefix, features.patches], dim=1)
        return TokenSequence(tokens, self.context(features), to_features)

    def context(self, features: Features) -> tuple[Any, ...]:
        """Features → extra arguments of every block, such as rotations."""
        return ()

    def encode(self, features: Features) -> Features:
        """Features → Features of the same shapes, normalized."""
        tokens, context, to_features = self.to_sequence(features)
        return to_features(self.norm(self.run_blocks(tokens, *context)))

    def intermediates(self, images: Tensor, layers: abc.Sequence[int]) -> list[Features]:
        """images (B, C, *size), indices of blocks → Features after each, without the last norm."""
        indices, outputs = self.block_indices(layers), {}
        tokens, context, to_features = self.to_sequence(self.embed(images))
        for i, block in enumerate(self.blocks[: max(indices) + 1]):
            tokens = block(tokens, *context)
            if i in indices:
                outputs[i] = to_features(tokens)
        return [outputs[i] for i in indices]


class PyramidStage(nn.Module):
    """A stage of a pyramid: a coarser grid first, and then blocks on it.

    Args:
        downsample: module from (B, H, W, C) to (B, H', W', D).
        blocks: modules from (B, H', W', D) to the same shape.

    Example:
        >>> stage = PyramidStage(nn.Identity(), [nn.Linear(8, 8)])
        >>> stage(Features.from_map(torch.zeros(1, 2, 2, 8))).grid
        (2, 2)
    """

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
    """The tier of models that need the whole grid: patches may be masked, but not dropped.

    The entries of `blocks` are stages, modules from Features to Features, most of them on a coarser
    grid than the one before: `PyramidStage`, or another with its blocks in an attribute `blocks`.

    Attributes:
        dim: width of each stage.
        strides: pixels per cell of each stage's grid, on each axis.

    Example:
        >>> model = vitrail.create_model("swin_tiny_patch4_window7_224", num_classes=0)
        >>> model.dim, model.strides
        ((96, 192, 384, 768), (4, 8, 16, 32))
    """

    norm: nn.Module
    dim: tuple[int, ...]
    strides: tuple[int, ...]

    def encode(self, features: Features) -> Features:
        """Features on the finest grid → normalized Features on the coarsest."""
        self.require_whole_grid(features)
        features = self.run_blocks(features)
        return features._replace(patches=self.norm(features.patches))

    def pool(self, features: Features) -> Tensor:
        """Features → the mean of the patches (B, D)."""
        return features.patches.mean(dim=1)

    def block_modules(self) -> list[list[nn.Module]]:
        """The modules of each layer: one per block, counted over the stages.

        The rest of a stage, such as its downsampling, belongs to the last block before it, as in
        Swin's layer-wise decay (SimMIM's code); the first stage's belongs to the embedding.
        """
        layers: list[list[nn.Module]] = []
        for stage in self.blocks:
            blocks = getattr(stage, "blocks", None)
            if layers and blocks is not None:
                layers[-1] += [child for child in stage.children() if child is not blocks]
            layers += [[block] for block in ([stage] if blocks is None else blocks)]
        return layers

    def cut(self, depth: int) -> None:
        """Raises `TierError`: the last norm fits the last stage only."""
        raise TierError(
            f"{type(self).__name__} cannot be cut to depth={depth}: use `intermediates` instead."
        )


def initialize(module: nn.Module) -> None:
    """Initializes every parameter of a module in place.

    Linear layers start from a truncated normal distribution with standard deviation 0.02 and biases
    of 0; any other module from its `reset_parameters`. Children come before parents, so a module
    that sets its children's values has the last word.

    Args:
        module: any module.

    Example:
        >>> layer = nn.Linear(64, 64)
        >>> initialize(layer)
        >>> layer.bias.abs().max().item(), round(layer.weight.std().item(), 2)
        (0.0, 0.02)
    """
    for submodule in reversed(list(module.modules())):
        if isinstance(submodule, nn.Linear):
            nn.init.trunc_normal_(submodule.weight, std=0.02)
            if submodule.bias is not None:
                nn.init.zeros_(submodule.bias)
        elif callable(reset := getattr(submodule, "reset_parameters", None)):
            reset()


def undecayed(module: nn.Module) -> set[str]:
    """Names of the parameters that weight decay spares.

    Args:
        module: any module.

    Returns:
        All vectors and scalars, and what a submodule lists in its attribute `undecayed`.

    Example:
        >>> sorted(undecayed(nn.Linear(2, 2)))
        ['bias']
    """
    names = {name for name, parameter in module.named_parameters() if parameter.ndim < 2}
    for path, submodule in module.named_modules():
        names |= {f"{path}.{name}".lstrip(".") for name in getattr(submodule, "undecayed", ())}
    return names


def _recording(init: abc.Callable[..., None]) -> abc.Callable[..., None]:
    """Wraps a constructor so that its keywords are checked, and recorded in `config`."""

    @functools.wraps(init)
    def constructor(self: Backbone, *args: Any, **keywords: Any) -> None:
        bound = bind(type(self), init, args, keywords)
        init(self, *bound.args[1:], **bound.kwargs)
        if type(self).__init__ is not constructor:
            return  # called by the constructor of a subclass, which records
        self.config = {}
        for name, parameter in bound.signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                self.config |= bound.arguments[name]
            else:
                self.config[name] = bound.arguments[name]
        del self.config["self"]
        self.init_weights()

    return constructor
