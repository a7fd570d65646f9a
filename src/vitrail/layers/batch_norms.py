"""Batch norms of what does not learn."""

from typing import Self

from torch import nn

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def is_frozen(module: nn.Module) -> bool:
    """Whether a module has parameters, and none of them learns.

    Args:
        module: any module.

    Returns:
        True if it does not learn.

    Example:
        >>> is_frozen(nn.Linear(2, 2).requires_grad_(False)), is_frozen(nn.ReLU())
        (True, False)
    """
    learns = [parameter.requires_grad for parameter in module.parameters()]
    return bool(learns) and not any(learns)


def owner(norm: nn.Module, network: nn.Module) -> nn.Module:
    """Whose weights say whether a batch norm learns.

    Args:
        norm: a batch norm.
        network: what it is a part of.

    Returns:
        The norm; where it has no weights, the module that it stands in.

    Example:
        >>> layers = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False))
        >>> owner(layers[1], layers) is layers
        True
    """
    if norm.affine:
        return norm
    return next(m for m in network.modules() if any(child is norm for child in m.children()))


def keep_still(network: nn.Module) -> None:
    """Puts batch norms that do not learn in evaluation mode, so that they keep their statistics.

    Args:
        network: the network that they are in.

    Example:
        >>> layers = nn.Sequential(nn.BatchNorm1d(2), nn.BatchNorm1d(2)).train()
        >>> keep_still(nn.Sequential(layers, layers[0].requires_grad_(False)))
        >>> [layer.training for layer in layers]
        [False, True]
    """
    for module in network.modules():
        if isinstance(module, BATCH_NORMS) and is_frozen(owner(module, network)):
            module.eval()


class Freezable(nn.Module):
    """A network whose batch norms keep still where they do not learn.

    Example:
        >>> class Net(Freezable):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.norm = nn.BatchNorm1d(2).requires_grad_(False)
        >>> Net().train().norm.training
        False
    """

    def train(self, mode: bool = True) -> Self:
        """Sets the mode; batch norms that do not learn stay in evaluation mode."""
        super().train(mode)
        keep_still(self)
        return self
