"""The feed-forward half of a transformer block."""

import functools
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from vitrail.layers.inplace import may_overwrite
from vitrail.layers.linear import Linear
from vitrail.ops.guard import guarded, guarded_forward
from vitrail.values import PositiveInt, Rate


class QuickGELU(nn.Module):
    """x · sigmoid(1.702 x), the approximation of GELU that OpenAI's CLIP is trained with.

    It is from the paper on GELU (Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415).

    Example:
        >>> QuickGELU()(torch.zeros(2))
        tensor([0., 0.])
    """

    @guarded_forward
    def forward(self, x: Tensor) -> Tensor:
        """x (...) → (...)."""
        return x * torch.sigmoid(1.702 * x)


class GELU(nn.GELU):
    """GELU (Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415), in place on request.

    Args:
        approximate: "none" for the exact GELU, "tanh" for its approximation.

    Example:
        >>> x = torch.ones(1)
        >>> GELU()(x, overwrite=True) is x
        True
    """

    @guarded
    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        super().__init__(approximate)

    @guarded_forward
    def forward(self, x: Tensor, overwrite: bool = False) -> Tensor:
        """x (...), overwrite: whether the result is written over x → (...)."""
        if overwrite:
            # torch.nn.functional has no GELU in place; this is PyTorch's operator by its own name.
            return torch.ops.aten.gelu_(x, approximate=self.approximate)
        return super().forward(x)


# Activations by the values of a model's keyword. A checkpoint needs its own one: the outputs of
# the three differ by up to 0.02.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": GELU,
    "quick_gelu": QuickGELU,
    "gelu_tanh": functools.partial(GELU, approximate="tanh"),
}


class Mlp(nn.Module):
    """Linear layer, activation, linear layer, applied to each token on its own.

    Without gradients GELU overwrites the hidden units, unless a hook could notice: memory for a
    second copy of them costs up to a tenth of a ViT's time on a CPU.

    Args:
        dim: width of a token.
        hidden_dim: number of hidden units.
        dropout: dropout rate of the hidden units and of the output.
        activation: module between the linear layers; None for GELU.

    Example:
        >>> Mlp(8, 16)(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    @guarded
    def __init__(
        self,
        dim: PositiveInt,
        hidden_dim: PositiveInt,
        dropout: Rate = 0.0,
        *,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden_dim)
        self.activation = GELU() if activation is None else activation
        self.fc2 = Linear(hidden_dim, dim)
        self.dropout = nn.Dropout(dropout)

    @property
    def last_linear(self) -> nn.Linear:
        """The linear layer whose output, after dropout, is the module's."""
        return self.fc2

    @guarded_forward
    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) → (..., D)."""
        hidden = self.fc1(x)
        if type(self.activation) is GELU:
            hidden = self.activation(hidden, overwrite=may_overwrite(self.fc1, self.activation))
        else:
            hidden = self.activation(hidden)
        return self.dropout(self.fc2(self.dropout(hidden)))
