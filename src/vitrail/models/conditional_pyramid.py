"""The base class of pyramids with positions from a convolution: Twins, ScalableViT, SepViT."""

from collections.abc import Callable

from torch import nn

from vitrail.layers.block import Block, drop_path_rates
from vitrail.layers.conv import ConditionalPosition
from vitrail.layers.mlp import Mlp
from vitrail.models.features import Features
from vitrail.models.initial import fan_out_convolutions
from vitrail.models.tiers import PyramidBackbone, PyramidStage


class ConditionalStage(PyramidStage):
    """A stage with a conditional position encoding after its first block.

    Args:
        downsample: module from (B, H, W, C) to (B, H', W', D).
        blocks: modules from (B, H', W', D) to the same shape, at least one.
        dim: width D of a token.

    Example:
        >>> stage = ConditionalStage(nn.Identity(), [nn.Linear(8, 8)], dim=8)
        >>> stage(Features.from_map(torch.zeros(1, 2, 2, 8))).grid
        (2, 2)
    """

    def __init__(self, downsample: nn.Module, blocks: list[nn.Module], dim: int) -> None:
        super().__init__(downsample, blocks)
        self.position = ConditionalPosition(dim)

    def forward(self, features: Features) -> Features:
        """Features on a grid → Features on this stage's."""
        x = self.downsample(features.to_map())
        for index, block in enumerate(self.blocks):
            x = block(x) if index else self.position(block(x))
        return Features.from_map(x)


class ConditionalPyramid(PyramidBackbone):
    """A pyramid of `ConditionalStage`s, whose positions serve images of any size.

    Example:
        >>> from vitrail.models.twins import Twins
        >>> issubclass(Twins, ConditionalPyramid)
        True
    """

    def make_stages(
        self,
        depth: tuple[int, ...],
        make_downsample: Callable[[int], nn.Module],
        make_mixer: Callable[[int, int], nn.Module],
        *,
        mlp_ratio: tuple[float, ...],
        dropout: float,
        drop_path: float,
        norm_eps: float,
    ) -> nn.ModuleList:
        """Builds the stages, of the widths `self.dim`.

        Args:
            depth: number of blocks, per stage.
            make_downsample: function from the index of a stage, 1 or more, to the module that makes
                its grid.
            make_mixer: function from the indices of a stage and of a block in it to the mixer.
            mlp_ratio: per stage, hidden width of an MLP divided by the width of the stage.
            dropout: dropout rate of MLPs.
            drop_path: stochastic depth rate of the last block; it grows linearly from 0.
            norm_eps: epsilon of the blocks' LayerNorms.

        Returns:
            The stages.
        """
        rates = iter(drop_path_rates(drop_path, sum(depth)))

        def make_block(stage: int, index: int) -> Block:
            width = self.dim[stage]
            mlp = Mlp(width, int(mlp_ratio[stage] * width), dropout)
            mixer = make_mixer(stage, index)
            return Block(width, mixer, mlp, drop_path=next(rates), norm_eps=norm_eps)

        return nn.ModuleList(
            ConditionalStage(
                make_downsample(i) if i else nn.Identity(),
                [make_block(i, j) for j in range(depth[i])],
                width,
            )
            for i, width in enumerate(self.dim)
        )

    def block_modules(self) -> list[list[nn.Module]]:
        """The modules of each layer: one per block; a stage's positions belong to its first."""
        layers, start = super().block_modules(), 0
        for stage in self.blocks:
            assert isinstance(stage, ConditionalStage)
            layers[start].append(stage.position)
            start += len(stage.blocks)
        return layers

    def init_weights(self) -> None:
        """Initializes linear layers from std 0.02 and convolutions by fan-out, as the authors."""
        super().init_weights()
        fan_out_convolutions(self)
