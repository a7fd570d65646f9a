"""The linear layer."""

import torch
from torch import Tensor, nn

from vitrail.ops.guard import guarded, guarded_forward
from vitrail.ops.linear import product
from vitrail.values import PositiveInt


class Linear(nn.Linear):
    """`nn.Linear` whose product is computed by the faster of two libraries: see `ops/linear.py`.

    Parameters, initial values and results are those of `nn.Linear`. Tools that ask with
    `isinstance` (PEFT, torchao) treat it as one. Tools that look for the exact type `nn.Linear`
    (`torch.ao.quantization`) skip it: give them `vitrail.deploy.fuse.plain_layers(model)`.

    Args:
        in_features: width of the input.
        out_features: width of the output.
        bias: whether a bias is added.

    Attributes:
        backend: library of the product, "auto", "torch" or "onednn"; an attribute of the class
            that may be set on a layer.

    Example:
        >>> Linear(3, 2)(torch.zeros(4, 3)).shape
        torch.Size([4, 2])
    """

    backend = "auto"

    @guarded
    def __init__(
        self, in_features: PositiveInt, out_features: PositiveInt, bias: bool = True
    ) -> None:
        super().__init__(in_features, out_features, bias)

    @guarded_forward
    def forward(self, x: Tensor) -> Tensor:
        """x (..., C) → (..., D)."""
        return product(x, self.weight, self.bias, self.backend)


@guarded
@torch.no_grad()
def scale_outputs(layer: nn.Linear, factors: Tensor) -> None:
    """Multiplies the outputs of a linear layer, in its weight and bias.

    Args:
        layer: the layer, changed in place.
        factors: (D,), one factor per output.

    Example:
        >>> layer = nn.Linear(2, 2, bias=False)
        >>> before = layer(torch.ones(1, 2))
        >>> scale_outputs(layer, torch.tensor([2.0, 4.0]))
        >>> (layer(torch.ones(1, 2)) / before).round().tolist()
        [[2.0, 4.0]]
    """
    layer.weight.mul_(factors[:, None])
    if layer.bias is not None:
        layer.bias.mul_(factors)
