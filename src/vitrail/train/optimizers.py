"""Optimizers beside AdamW, each a function of parameter groups with its published defaults."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer

from vitrail.errors import ConfigError
from vitrail.train.timm_package import import_timm

Groups = list[dict[str, Any]]


def sgd(groups: Groups, momentum: float = 0.9, nesterov: bool = False) -> Optimizer:
    """Stochastic gradient descent with momentum.

    Args:
        groups: parameter groups.
        momentum: decay rate of the average of the gradients.
        nesterov: whether the gradient is taken after the momentum's step.

    Returns:
        torch's optimizer.

    Example:
        >>> group = {"params": [nn.Parameter(torch.ones(1))], "lr": 0.1}
        >>> sgd([group]).defaults["momentum"]
        0.9
    """
    return torch.optim.SGD(groups, momentum=momentum, nesterov=nesterov)


def adafactor(groups: Groups, beta2_decay: float = -0.8, d: float = 1.0) -> Optimizer:
    """Adafactor (Shazeer & Stern 2018, https://arxiv.org/abs/1804.04235): the second moments of a
    matrix are kept as one row and one column.

    Args:
        groups: parameter groups.
        beta2_decay: exponent of the step at which the decay rate of the moments grows.
        d: largest root mean square of an update.

    Returns:
        torch's optimizer.

    Example:
        >>> group = {"params": [nn.Parameter(torch.ones(1))], "lr": 0.1}
        >>> type(adafactor([group])).__name__
        'Adafactor'
    """
    return torch.optim.Adafactor(groups, beta2_decay=beta2_decay, d=d)


def lamb(groups: Groups, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-6) -> Optimizer:
    """LAMB (You et al. 2019, https://arxiv.org/abs/1904.00962), for very large batches: Adam, whose
    update of each tensor is scaled to the tensor's norm.

    Args:
        groups: parameter groups.
        betas: decay rates of the averages.
        eps: what is added to the denominator.

    Returns:
        timm's optimizer.

    Raises:
        ConfigError: timm is not installed.

    Example:
        >>> group = {"params": [nn.Parameter(torch.ones(1))], "lr": 0.1}
        >>> type(lamb([group])).__name__  # doctest: +SKIP
        'Lamb'
    """
    import_timm("the optimizer 'lamb'")
    from timm.optim.lamb import Lamb

    # The gradients are clipped by the trainer.
    return Lamb(groups, betas=betas, eps=eps, max_grad_norm=None)


class Muon(Optimizer):
    """Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) for the matrices of
    blocks, and AdamW for all other parameters.

    The momentum of each matrix is orthogonalized. Updates are scaled to the root mean square of
    AdamW's, so that both take the same learning rate (Liu et al. 2025,
    https://arxiv.org/abs/2502.16982).

    Args:
        groups: parameter groups as `parameter_groups` makes them, with "hidden" for the matrices
            of blocks.
        momentum: decay rate of the average of the gradients of matrices.
        ns_steps: number of Newton-Schulz iterations.
        betas: decay rates of AdamW's averages.
        eps: what AdamW adds to its denominator.

    Raises:
        ConfigError: no matrix of a block is trained.

    Example:
        >>> matrix, head = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
        >>> groups = [{"params": [matrix], "lr": 0.1, "hidden": True},
        ...           {"params": [head], "lr": 0.1, "hidden": False}]
        >>> [type(part).__name__ for part in Muon(groups).parts]
        ['Muon', 'AdamW']
    """

    parts: tuple[Optimizer, ...]

    def __init__(
        self,
        groups: Groups,
        momentum: float = 0.95,
        ns_steps: int = 5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        hidden = [group for group in groups if group["hidden"]]
        others = [group for group in groups if not group["hidden"]]
        if not hidden:
            raise ConfigError(
                "the optimizer 'muon' is for the matrices of blocks, and none is trained: use "
                "'adamw'."
            )
        super().__init__(groups, {})
        matrices = torch.optim.Muon(
            hidden, momentum=momentum, ns_steps=ns_steps, adjust_lr_fn="match_rms_adamw"
        )
        rest = (torch.optim.AdamW(others, betas=betas, eps=eps),) if others else ()
        self.parts = (matrices, *rest)
        self.param_groups = [group for part in self.parts for group in part.param_groups]
        for part in self.parts:
            part.state = self.state

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Makes a step of both optimizers.

        Args:
            closure: must be None.
        """
        assert closure is None
        for part in self.parts:
            part.step()
