"""An optimizer and a schedule with the interface of torch's, for checks.

The first optimizer of `torch.optim` imports PyTorch's compiler, which takes two seconds: as long as
all the rest of a check.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class Descent:
    """Gradient descent with momentum and decoupled weight decay.

    Args:
        parameters: parameters, or groups of them as dictionaries, as `torch.optim` takes them.
        lr: learning rate of groups without one.
        momentum: fraction of the last step that is kept.
        weight_decay: of groups without one.

    Example:
        >>> parameter = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = Descent([parameter], lr=0.5)
        >>> parameter.sum().backward()
        >>> optimizer.step()
        >>> parameter.item()
        0.5
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
    ) -> None:
        groups = list(parameters)
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        self.param_groups: list[dict[str, Any]] = [
            {"lr": lr, "weight_decay": weight_decay, **group, "params": list(group["params"])}
            for group in groups
        ]
        self.momentum = momentum
        self.velocities: dict[int, Tensor] = {}  # by position of the parameter

    def _members(self) -> list[tuple[Tensor, dict[str, Any]]]:
        return [(p, group) for group in self.param_groups for p in group["params"]]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forgets all gradients.

        Args:
            set_to_none: as in PyTorch; False fills them with zeros.
        """
        for parameter, _group in self._members():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad.zero_()

    @torch.no_grad()
    def step(self) -> None:
        """Updates every parameter that has a gradient."""
        for number, (parameter, group) in enumerate(self._members()):
            if parameter.grad is None:
                continue
            velocity = self.velocities.setdefault(number, torch.zeros_like(parameter))
            velocity.mul_(self.momentum).add_(parameter.grad)
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.sub_(group["lr"] * velocity)

    def state_dict(self) -> dict[str, Any]:
        """Velocities and learning rates; the tensors are the live ones, as in torch."""
        return {"velocities": self.velocities, "rates": [g["lr"] for g in self.param_groups]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes the velocities and learning rates of a state.

        Args:
            state: of `state_dict`.
        """
        self.velocities = {number: v.clone() for number, v in state["velocities"].items()}
        for group, rate in zip(self.param_groups, state["rates"], strict=True):
            group["lr"] = rate


class FactorSchedule:
    """A schedule that multiplies the first learning rate by a factor per step.

    Args:
        optimizer: whose rates it sets.
        factor: function of the number of steps so far.

    Example:
        >>> optimizer = Descent([torch.nn.Parameter(torch.ones(1))], lr=0.5)
        >>> schedule = FactorSchedule(optimizer, lambda step: 1 / (1 + step))
        >>> schedule.step()
        >>> optimizer.param_groups[0]["lr"]
        0.25
    """

    def __init__(self, optimizer: Descent, factor: Callable[[int], float]) -> None:
        self.optimizer, self.factor, self.steps = optimizer, factor, 0
        self.first = [group["lr"] for group in optimizer.param_groups]
        self._set()

    def _set(self) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.first, strict=True):
            group["lr"] = rate * self.factor(self.steps)

    def step(self) -> None:
        """Goes on by a step."""
        self.steps += 1
        self._set()

    def state_dict(self) -> dict[str, int]:
        """The number of steps."""
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on from a state.

        Args:
            state: of `state_dict`.
        """
        self.steps = state["steps"]
