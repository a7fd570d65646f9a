"""Learned tokens, and the selection of tokens from a sequence."""

import torch
from torch import Tensor, nn

from vitrail.ops.guard import guarded, guarded_forward
from vitrail.values import NonNegativeFloat, NonNegativeInt, PositiveInt


class Token(nn.Module):
    """Learned tokens that are the same for every image: class, register and mask tokens.

    The parameter `weight` has shape (1, count, dim).

    Args:
        count: number of tokens.
        dim: width of a token.
        std: standard deviation of the truncated normal distribution that they start from; 0 for
            zeros.
        decayed: whether weight decay applies; most papers spare their tokens.

    Example:
        >>> class_token = Token(1, 8)
        >>> class_token(4).shape
        torch.Size([4, 1, 8])
    """

    @guarded
    def __init__(
        self,
        count: NonNegativeInt,
        dim: PositiveInt,
        std: NonNegativeFloat = 0.02,
        *,
        decayed: bool = False,
    ) -> None:
        super().__init__()
        self.undecayed = () if decayed else ("weight",)
        self.std = std
        self.weight = nn.Parameter(torch.empty(1, count, dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws from a truncated normal distribution with standard deviation `std`."""
        draw_or_zero(self.weight, self.std)

    @guarded_forward
    def forward(self, batch: int) -> Tensor:
        """batch size B → tokens (B, count, D), a view of the weight."""
        return self.weight.expand(batch, -1, -1)

    def extra_repr(self) -> str:
        """Shows the sizes in the model's printout."""
        return f"count={self.weight.shape[1]}, dim={self.weight.shape[2]}"


@guarded
def draw_or_zero(parameter: Tensor, std: NonNegativeFloat) -> None:
    """Initializes a table or token in place: truncated normal, or zeros where `std` is 0.

    Args:
        parameter: tensor of any shape.
        std: standard deviation.

    Example:
        >>> table = torch.empty(2)
        >>> draw_or_zero(table, 0.0)
        >>> table
        tensor([0., 0.])
    """
    if std:
        nn.init.trunc_normal_(parameter, std=std)
    else:
        nn.init.zeros_(parameter)


@guarded
def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Selects tokens by their indices.

    Args:
        tokens: (B, N, D).
        index: (B, K), indices of the tokens to select.

    Returns:
        The selected tokens (B, K, D) in the order of `index`.

    Example:
        >>> take(torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[2, 0]])).flatten()
        tensor([3., 1.])
    """
    return tokens.gather(1, index[..., None].expand(-1, -1, tokens.shape[-1]))
