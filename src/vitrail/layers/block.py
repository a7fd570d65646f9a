"""The pre-norm residual block, LayerScale and stochastic depth."""

from collections.abc import Callable
from typing import Annotated, cast

import torch
from torch import Tensor, nn

from vitrail.errors import ConfigError
from vitrail.layers.linear import scale_outputs
from vitrail.layers.mixers import MixerFactory, make_mixer
from vitrail.layers.position import Rotation, rotate
from vitrail.ops.guard import guarded, guarded_forward
from vitrail.values import NonNegativeFloat, PositiveInt, Range, Rate

Depth = Annotated[int, Range(0, 10_000)]  # of a loop over blocks


class LayerScale(nn.Module):
    """A learned factor per channel of a residual branch (CaiT, Touvron et al. 2021,
    https://arxiv.org/abs/2103.17239).

    Args:
        dim: number of channels.
        initial: value that every factor starts from.

    Example:
        >>> LayerScale(3, initial=0.1)(torch.ones(1, 3)).tolist()[0][0]
        0.10000000149011612
    """

    @guarded
    def __init__(self, dim: PositiveInt, initial: float) -> None:
        super().__init__()
        self.initial = initial
        self.gamma = nn.Parameter(torch.empty(dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Sets every factor to `initial`."""
        nn.init.constant_(self.gamma, self.initial)

    @guarded_forward
    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) → (..., D)."""
        if x.shape[-1] != self.gamma.shape[0]:  # or a width of 1 would be repeated
            raise ConfigError(
                f"LayerScale of {self.gamma.shape[0]} channels does not fit x of shape "
                f"{tuple(x.shape)}: give (..., {self.gamma.shape[0]})."
            )
        return x * self.gamma

    def extra_repr(self) -> str:
        """Shows the sizes in the model's printout."""
        return f"dim={len(self.gamma)}, initial={self.initial:g}"


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016, https://arxiv.org/abs/1603.09382).

    During training the residual branch of a sample is dropped with probability `rate`, and the
    branches that remain are scaled by 1 / (1 - rate), so that their expectation is unchanged.

    Args:
        rate: probability with which a branch is dropped, 0 <= rate < 1.

    Raises:
        ConfigError: `rate` is outside [0, 1).

    Example:
        >>> DropPath(0.5).eval()(torch.ones(2, 3)).sum()
        tensor(6.)
    """

    @guarded
    def __init__(self, rate: Rate) -> None:
        super().__init__()
        self.rate = rate

    @guarded_forward
    def forward(self, x: Tensor) -> Tensor:
        """x (B, ...) → (B, ...)."""
        if not self.training or self.rate == 0.0:
            return x
        mask = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(1.0 - self.rate)
        return x * mask / (1.0 - self.rate)

    def extra_repr(self) -> str:
        """Shows the rate in the model's printout."""
        return f"rate={self.rate:.3g}"


@guarded
def drop_path_rates(highest: Rate, depth: Depth) -> list[float]:
    """Rates of stochastic depth that grow linearly from the first block to the last.

    Args:
        highest: rate of the last block.
        depth: number of blocks.

    Returns:
        One rate per block, 0 for the first.

    Example:
        >>> drop_path_rates(0.5, 3)
        [0.0, 0.25, 0.5]
    """
    return [highest * i / max(depth - 1, 1) for i in range(depth)]


class Block(nn.Module):
    """The pre-norm transformer block: x + mixer(norm(x)), then x + mlp(norm(x)).

    Args:
        dim: width of a token.
        mixer: module that mixes the tokens, from (B, N, D) to the same shape; or a function from
            `dim` to one, or the name of one that `register_mixer` has.
        mlp: module applied to each token, from (B, N, D) to the same shape.
        drop_path: rate of stochastic depth of both branches.
        layer_scale: initial value of a `LayerScale` on each branch; None for no LayerScale.
        norm_eps: epsilon of the two LayerNorms.
        norm: function from `dim` to a norm, called twice; None for LayerNorm with `norm_eps`.

    Example:
        >>> from vitrail.layers.attention import Attention
        >>> from vitrail.layers.mlp import Mlp
        >>> Block(8, Attention(8, heads=2), Mlp(8, 16))(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    @guarded
    def __init__(
        self,
        dim: PositiveInt,
        mixer: nn.Module | MixerFactory | str,
        mlp: nn.Module,
        *,
        drop_path: Rate = 0.0,
        layer_scale: float | None = None,
        norm_eps: NonNegativeFloat = 1e-6,
        norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()

        def make_norm() -> nn.Module:
            return nn.LayerNorm(dim, eps=norm_eps) if norm is None else norm(dim)

        def make_scale() -> nn.Module:
            return nn.Identity() if layer_scale is None else LayerScale(dim, layer_scale)

        self.norm1 = make_norm()
        self.mixer = mixer if isinstance(mixer, nn.Module) else make_mixer(mixer, dim)
        self.scale1 = make_scale()
        self.norm2 = make_norm()
        self.mlp = mlp
        self.scale2 = make_scale()
        self.drop_path = DropPath(drop_path)

    @guarded_forward
    def forward(self, x: Tensor, *context: Tensor | tuple[Tensor, ...] | None) -> Tensor:
        """x (B, N, D), extra arguments of the mixer such as rotations → (B, N, D)."""
        x = x + self.drop_path(self.scale1(self.mixer(self.norm1(x), *context)))
        return x + self.drop_path(self.scale2(self.mlp(self.norm2(x))))

    def fuse_for_inference(self) -> None:
        """Multiplies each LayerScale into the last linear layer of its branch, for evaluation."""
        if type(self).forward not in (Block.forward, RotatedBlock.forward):
            return  # a subclass may scale more than the output of the branch
        for name, branch in (("scale1", self.mixer), ("scale2", self.mlp)):
            scale, linear = getattr(self, name), getattr(branch, "last_linear", None)
            if isinstance(scale, LayerScale) and linear is not None:
                scale_outputs(linear, scale.gamma)
                setattr(self, name, nn.Identity())


class RotatedBlock(Block):
    """A block before which all tokens are rotated by their positions: Block(rotate(x)).

    The skip connection carries the rotated tokens on, so what an earlier block added has been
    rotated once more for each block since: the residual stream holds differences of positions.
    `Block` has the arguments.

    Example:
        >>> from vitrail.layers.position import rotation
        >>> block = RotatedBlock(8, nn.Identity(), nn.Identity())
        >>> block(torch.ones(1, 6, 8), rotation((2, 3), (2, 3), 8)).shape
        torch.Size([1, 6, 8])
    """

    @guarded_forward
    def forward(self, x: Tensor, *context: Tensor | tuple[Tensor, ...] | None) -> Tensor:
        """x (B, N, D), rotation of N tokens, extra arguments of the mixer → (B, N, D)."""
        return super().forward(rotate(x, cast(Rotation, context[0])), *context[1:])
