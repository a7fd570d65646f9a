"""The tiers of models: sequences may drop patches, pyramids need the whole grid."""

from collections import abc

import torch
from torch import Tensor, nn

from vitrail.errors import TierError
from vitrail.layers.sequence import SequenceAugment
from vitrail.models.base import Backbone
from vitrail.models.features import Features, TokenSequence


class SequenceBackbone(Backbone):
    """The tier of models whose patches may be dropped, which every method can train.

    Prefix tokens come before the patches in the sequence that the blocks see. A model that inserts
    them elsewhere overrides `to_sequence`.

    Args:
        image_size: pixels per axis; one number for all axes.
        channels: number of channels of an image.
        num_classes: width of the logits; 0 for no head.

    Attributes:
        sequence_augment: augmentation of the sequence in training, or None: see
            `set_sequence_augment`.

    Example:
        >>> model = vitrail.ViT(32, 8, num_classes=5, dim=8, depth=1, heads=2, mlp_dim=16)
        >>> half = model.embed(torch.zeros(1, 3, 32, 32)).take(torch.arange(8)[None])
        >>> model.encode(half).patches.shape
        torch.Size([1, 8, 8])
    """

    dim: int
    norm: nn.Module

    def __init__(self, image_size: int | tuple[int, ...], channels: int, num_classes: int) -> None:
        super().__init__(image_size, channels, num_classes)
        self.sequence_augment: SequenceAugment | None = None

    def set_sequence_augment(
        self, flip: float = 0.0, shuffle: float = 0.0, *, class_token: bool = False
    ) -> None:
        """Sets the augmentation of the sequence in training, which the model's config leaves out.

        Positions are added before, so a token keeps its own. A model whose blocks attend from every
        token to every other computes the same in any order, unless positions are rotations or
        biases of its blocks: those belong to slots of the sequence, through which tokens move. In
        Vision Mamba, where the order is what a scan reads, rotations move with the tokens.

        Args:
            flip: probability that the whole sequence is reversed.
            shuffle: probability that the whole sequence is shuffled.
            class_token: whether the prefix tokens stand together at a random slot.

        Raises:
            ConfigError: `flip` or `shuffle` is no probability.
        """
        augment = SequenceAugment(flip, shuffle, class_token=class_token)
        augment.train(self.training)
        self.sequence_augment = augment if flip or shuffle or class_token else None

    def to_sequence(self, features: Features) -> TokenSequence:
        """features → the sequence of prefix tokens and patches that the blocks see."""
        prefix = features.prefix.shape[1]

        def to_features(tokens: Tensor) -> Features:
            return features._replace(prefix=tokens[:, :prefix], patches=tokens[:, prefix:])

        tokens = torch.cat([features.prefix, features.patches], dim=1)
        return self.augmented(TokenSequence(tokens, self.context(features), to_features), prefix)

    def augmented(self, sequence: TokenSequence, prefix: int) -> TokenSequence:
        """sequence, number of its first tokens that are prefix tokens → in training augmented."""
        if self.sequence_augment is None:
            return sequence
        order = torch.arange(sequence.tokens.shape[1])
        new_order = self.sequence_augment(order, prefix)
        return sequence if new_order is order else sequence.reordered(new_order)

    def context(self, features: Features) -> tuple[object, ...]:
        """features → extra arguments of every block, such as rotations."""
        return ()

    def encode(self, features: Features) -> Features:
        """Features → Features of the same shapes, normalized."""
        tokens, context, to_features = self.to_sequence(features)
        return to_features(self.norm(self.run_blocks(tokens, *context)))

    def block_outputs(self, images: Tensor, count: int) -> list[Features]:
        """images (B, C, *size) → Features after each of the first `count` blocks."""
        tokens, context, to_features = self.to_sequence(self.embed(images))
        outputs = []
        for block in self.blocks[:count]:
            tokens = block(tokens, *context)
            outputs.append(to_features(tokens))
        return outputs


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
