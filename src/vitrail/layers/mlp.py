"""The feed-forward half of a transformer block."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vitrail.layers.linear import Linear


class QuickGELU(nn.Module):
    """x · sigmoid(1.702 x), the approximation of GELU that OpenAI's CLIP is trained with.

    It is from the paper on GELU (Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415).

    Example:
        >>> QuickGELU()(torch.zeros(2))
        tensor([0., 0.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (...) → (...)."""
        return x * torch.sigmoid(1.702 * x)


class InplaceGELU(nn.GELU):
    """GELU that overwrites its input where no gradient is needed.

    `deploy.fuse` puts it in the place of `nn.GELU`. It saves an allocation as large as the hidden
    units, but a hook that stored the input of the activation then finds the output there.

    Args:
        approximate: "none" for the exact GELU, "tanh" for its approximation.

    Example:
        >>> x = torch.ones(1)
        >>> InplaceGELU()(x) is x
        True
    """

    def forward(self, x: Tensor) -> Tensor:
        """x (...) → (...)."""
        if x.requires_grad:
            return super().forward(x)
        # torch.nn.functional has no GELU in place; this is PyTorch's operator by its own name.
        return torch.ops.aten.gelu_(x, approximate=self.approximate)


# Activations by the values of a model's keyword. A checkpoint needs its own one: the outputs of
# the three differ by up to 0.02.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "gelu": nn.GELU,
    "quick_gelu": QuickGELU,
    "gelu_tanh": functools.partial(nn.GELU, approximate="tanh"),
}


class Mlp(nn.Module):
    """Linear layer, activation, linear layer, applied to each token on its own.

    Args:
        dim: width of a token.
        hidden_dim: number of hidden units.
        dropout: dropout rate of the hidden units and of the output.
        activation: module between the linear layers; None for GELU.

    Example:
        >>> Mlp(8, 16)(torch.zeros(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        hidden_dim: int,
        dropout: float = 0.0,
        *,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.fc1 = Linear(dim, hidden_dim)
        self.activation = nn.GELU() if activation is None else activation
        self.fc2 = Linear(hidden_dim, dim)
        self.dropout = nn.Dropout(dropout)

    @property
    def last_linear(self) -> nn.Linear:
        """The linear layer whose output, after dropout, is the module's."""
        return self.fc2

    def forward(self, x: Tensor) -> Tensor:
        """x (..., D) → (..., D)."""
        return self.dropout(self.fc2(self.dropout(self.activation(self.fc1(x)))))

    def fuse_for_inference(self) -> None:
        """Lets GELU overwrite the hidden units, for evaluation."""
        if type(self.activation) is nn.GELU:
            self.activation = InplaceGELU(self.activation.approximate)
