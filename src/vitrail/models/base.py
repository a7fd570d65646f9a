"""The contract of every model, and what all models share.

image ─embed→ Features(patches, prefix, grid) ─encode→ Features ─pool→ (B, D) ─head→ logits
"""

from collections import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vitrail.errors import ConfigError, TierError
from vitrail.layers.batch_norms import Freezable, keep_still
from vitrail.layers.patch import check_input, to_tuple
from vitrail.models.assigning import AssignableHead
from vitrail.models.calls import checking_input, hinting, recording_config
from vitrail.models.features import Features
from vitrail.models.limits import check_sizes, within_memory
from vitrail.models.outputs import Outputs
from vitrail.models.paper import Paper
from vitrail.models.parameters import initialize
from vitrail.models.rebuilding import resampled_state
from vitrail.models.variant import Variant as Variant
from vitrail.ops.guard import guarded_forward
from vitrail.preprocess import Preprocess
from vitrail.values import NonNegativeInt, check_value, resolve_indices

Input = TypeVar("Input", Tensor, Features)  # of a block
# What checks the arguments of methods that subclasses define.
GUARDED = ("encode", "pool", "make_head")
WRAPPERS: dict[str, Callable[..., Any]] = dict.fromkeys(GUARDED, guarded_forward)
WRAPPERS |= {"__init__": recording_config, "embed": checking_input, "forward": hinting}


class Backbone(AssignableHead, Freezable):
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
        outputs: what the outputs of the head mean: classes, several labels or numbers.
        origin: where the weights come from, or "".

    Raises:
        ConfigError: a keyword is unknown, or its value is not what it may be.

    Example:
        >>> model = vitrail.ViT(32, 8, num_classes=5, dim=8, depth=1, heads=2, mlp_dim=16)
        >>> model(torch.zeros(2, 3, 32, 32)).shape, model.config["dim"]
        (torch.Size([2, 5]), 8)
    """

    paper: ClassVar[Paper]
    cure: ClassVar[str] = "vitrail.create_model and vitrail.load return one."  # for errors
    axes: ClassVar[tuple[int, ...]] = (2,)
    after_blocks: ClassVar[tuple[str, ...]] = ("norm", "head")
    config: dict[str, Any]
    dim: int | tuple[int, ...]  # width of a token; in a pyramid, one per stage
    grid: tuple[int, ...]  # patches per axis, at image_size
    blocks: nn.ModuleList
    head: nn.Module

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in WRAPPERS.keys() & vars(cls).keys():
            setattr(cls, name, WRAPPERS[name](vars(cls)[name]))

    def __init__(self, image_size: int | tuple[int, ...], channels: int, num_classes: int) -> None:
        super().__init__()
        self.image_size = to_tuple(image_size, self.axes)
        self.channels = channels
        self.num_classes = num_classes
        self.gradient_checkpointing = False
        self.preprocess = Preprocess.for_size(self.image_size, channels)
        self.labels: list[str] | None = None
        self.outputs = Outputs()
        self.origin = ""

    def check_input(self, images: object) -> None:
        """Checks the type, the device and the dtype of images; `embed` checks their shape.

        Args:
            images: an object in the place of a batch of images.

        Raises:
            DataError: the model cannot compute with them.
        """
        check_input(images, next(self.parameters()))

    def embed(self, images: Tensor) -> Features:
        """images (B, C, *size) → Features with positions added."""
        raise NotImplementedError

    def encode(self, features: Features) -> Features:
        """features → Features of the same kind, after all blocks and the last norm."""
        raise NotImplementedError

    def pool(self, features: Features) -> Tensor:
        """features → (B, D), the input of the head."""
        raise NotImplementedError

    @hinting
    def forward(self, images: Tensor) -> Tensor:
        """images (B, C, *size) → logits (B, num_classes)."""
        features = self.embed(images)
        features = self.encode(features)
        pooled = self.pool(features)
        return self.head(pooled)

    if TYPE_CHECKING:  # so that logits have a type: a call of nn.Module has none

        def __call__(self, images: Tensor) -> Tensor: ...

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

    @guarded_forward
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

        Labels of another number of classes are dropped.

        Args:
            num_classes: width of the new logits; 0 leaves the pooled features.

        Raises:
            ConfigError: `num_classes` is no whole number of at least 0, or such a head has no place
                in memory.
        """
        num_classes = check_value("num_classes", num_classes, NonNegativeInt)
        check_sizes({"num_classes": num_classes})
        with within_memory(f"a head with num_classes={num_classes}"):
            head = self.make_head(num_classes)
        if self.labels is not None and num_classes not in (0, len(self.labels)):
            self.labels = None
        like = next(self.parameters())
        self.head = head.to(like.device, like.dtype)
        initialize(self.head)
        self.num_classes = self.config["num_classes"] = num_classes

    def cut(self, depth: int) -> None:
        """Drops the last blocks, to use the normalized features of a middle layer.

        Args:
            depth: number of entries of `blocks` that remain.

        Raises:
            ConfigError: the model has no such number of blocks.
        """
        depth = check_value("depth", depth, int)
        if not 1 <= depth <= len(self.blocks):
            raise ConfigError(f"depth={depth} is not within 1 to {len(self.blocks)}.")
        self.blocks = self.blocks[:depth]
        self.config["depth"] = depth

    def intermediates(
        self, images: Tensor, layers: int | abc.Sequence[int] | None = None, *, norm: bool = False
    ) -> list[Features]:
        """Features after some of the blocks.

        Args:
            images: (B, C, *size).
            layers: indices into `blocks`, in a pyramid of stages; negative ones count from the
                end. A number n stands for the last n, None for all.
            norm: whether the last norm is applied to each of them, as DINOv2's users do.

        Returns:
            One Features per index, in the order of `layers`.

        Raises:
            ConfigError: the model has no such block.
            TierError: with `norm`, the last norm does not fit a stage, which has another width.
        """
        indices, norm = self.block_indices(layers), check_value("norm", norm, bool)
        outputs = self.block_outputs(images, max(indices) + 1)
        features = [outputs[i] for i in indices]
        return [self.normalize(each) for each in features] if norm else features

    def block_outputs(self, images: Tensor, count: int) -> list[Features]:
        """images (B, C, *size) → Features after each of the first `count` blocks."""
        features, outputs = self.embed(images), []
        for block in self.blocks[:count]:
            features = block(features)
            outputs.append(features)
        return outputs

    @guarded_forward
    def normalize(self, features: Features) -> Features:
        """Applies the last norm to Features after a block.

        Args:
            features: Features of the width that the last norm has.

        Returns:
            Features of the same shapes.

        Raises:
            TierError: the last norm is for another width.
        """
        norm, width = self.get_submodule("norm"), features.patches.shape[-1]
        if isinstance(self.dim, tuple) and width != self.dim[-1]:
            raise TierError(
                f"the last norm of this {type(self).__name__} is for {self.dim[-1]} channels, and "
                f"this stage has {width}: set norm=False, or layers=[-1]."
            )
        return features._replace(patches=norm(features.patches), prefix=norm(features.prefix))

    def block_indices(self, layers: int | abc.Sequence[int] | None) -> list[int]:
        """Resolves indices into `blocks`.

        Args:
            layers: indices; negative ones count from the end. A number n stands for the last n,
                None for all.

        Returns:
            The indices, none of them negative.

        Raises:
            ConfigError: there are no indices, or the model has no such block.
        """
        count = len(self.blocks)
        if layers is None:
            return list(range(count))
        if isinstance(layers, int):
            if isinstance(layers, bool) or not 0 < layers <= count:
                raise ConfigError(
                    f"layers={layers} is not within 1 to {count}, the last so many blocks: give "
                    f"[{layers}] for a block by its index."
                )
            return list(range(count - layers, count))
        indices = resolve_indices(layers, count, "layer")
        if not indices:
            raise ConfigError(f"layers is empty: give indices within 0 to {count - 1}.")
        return indices

    def init_weights(self) -> None:
        """Initializes every parameter; a model whose paper does it otherwise overrides this."""
        initialize(self)

    def run_blocks(self, x: Input, *context: object) -> Input:
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
        self.gradient_checkpointing = check_value("enable", enable, bool)

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

        Batch norms of frozen layers keep their statistics.

        Args:
            layers: number of layers to freeze, counted as in `layer_ids`: 1 freezes the embedding,
                depth + 1 all but what comes after the blocks. A negative number counts from the
                end, as in a slice: -1 is depth + 1. None freezes all but the head.

        Raises:
            ConfigError: the model has no such number of layers.
        """
        if layers is None:
            self.requires_grad_(False)
            self.head.requires_grad_(True)
            keep_still(self)
            return
        layers = check_value("layers", layers, int)
        count = self.depth + 2
        if not -count <= layers <= count:
            raise ConfigError(
                f"layers={layers} is not within -{count} to {count}: this model has an "
                f"embedding, {self.depth} blocks and a head."
            )
        ids, layers = self.layer_ids(), layers + count if layers < 0 else layers
        for name, parameter in self.named_parameters():
            parameter.requires_grad = ids[name] >= layers
        keep_still(self)

    def weights_at(self, other: "Backbone") -> dict[str, Tensor] | None:
        """The state dict for this model at another image size.

        Args:
            other: a model of the same class and keywords, but for `image_size`.

        Returns:
            The state dict with all tables of positions resampled; None if there are none, so that
            the model serves any size as it is.
        """
        return resampled_state(self, check_value("other", other, Backbone))

    @guarded_forward
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

    def forward_intermediates(
        self, images: Tensor, indices: int | abc.Sequence[int] | None = None, *, norm: bool = False
    ) -> list[Features]:
        """Features after some of the blocks; timm's name for `intermediates`.

        Args:
            images: (B, C, *size).
            indices: indices of blocks, a number n for the last n, None for all.
            norm: whether the last norm is applied to each of them.

        Returns:
            One Features per index.
        """
        return self.intermediates(images, indices, norm=norm)

    def reset_classifier(self, num_classes: int) -> None:
        """num_classes → a fresh head of that width, none of 0; timm's name for `reset_head`."""
        self.reset_head(num_classes)
