"""The linear layer."""

from torch import Tensor, nn

from vitrail.ops.linear import linear as linear  # for weights that are computed, too


class Linear(nn.Linear):
    """`nn.Linear`, computed by whichever library is quicker: see `ops/linear.py`.

    backend (an attribute): of the product.
    """

    backend = "auto"

    def forward(self, x: Tensor) -> Tensor:
        """x (..., C) → (..., D)."""
        return linear(x, self.weight, self.bias, self.backend)
