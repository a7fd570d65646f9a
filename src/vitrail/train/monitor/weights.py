"""What the monitor measures of the weights in a step: gradients, updates, what does not change."""

import math
import statistics
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vitrail.lens.health import Measures
from vitrail.methods.base import Method
from vitrail.train.sharding import total_norm

SAMPLE = 2**16  # values of each tensor that stand for all of them, evenly spread


class ParameterChange(NamedTuple):
    """Whether a step changed a parameter, and was to change it.

    Args:
        part: the group that it is in, such as "block 3".
        path: its path in the backbone or the method.
        role: its path in its block, the same in every block; "" outside blocks.
        changed: whether any of its values changed.
        trains: whether it takes gradients, and the optimizer has it at a rate above 0.

    Example:
        >>> ParameterChange("block 0", "blocks.0.norm1.bias", "norm1.bias", True, True).role
        'norm1.bias'
    """

    part: str
    path: str
    role: str
    changed: bool
    trains: bool


class Weights:
    """The parameters of a method by where they are, and what a step does to them.

    Args:
        method: the method that is trained.
        optimizer: its optimizer.

    Example:
        >>> from vitrail.methods.supervised import Supervised
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> list(Weights(Supervised(model), optimizer).groups)
        ['embed', 'block 0', 'head']
    """

    def __init__(self, method: Method, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        backbone, depth = method.backbone, method.backbone.depth
        layers, own = backbone.layer_ids(), dict(backbone.named_parameters())
        names = ["embed", *(f"block {i}" for i in range(depth)), "head"]
        self.groups: dict[str, dict[str, nn.Parameter]] = {name: {} for name in (*names, "method")}
        for path, parameter in own.items():
            self.groups[names[layers[path]]][path] = parameter
        inside = {id(p) for p in own.values()}
        for path, parameter in method.named_parameters():
            if id(parameter) not in inside and parameter.requires_grad:
                self.groups["method"][path] = parameter
        self.groups = {name: group for name, group in self.groups.items() if group}
        self.roles = {
            id(parameter): role
            for modules in backbone.block_modules()
            for module in modules
            for role, parameter in module.named_parameters()
        }
        self.before: dict[str, dict[str, Tensor]] = {}

    def gradients(self) -> Measures:
        """Norm of the gradient of each group, of what has one."""
        norms = {
            name: total_norm(p.grad for p in group.values() if p.grad is not None)
            for name, group in self.groups.items()
            if any(p.grad is not None for p in group.values())
        }
        return {"gradient_norm": {name: float(norm) for name, norm in norms.items()}}

    def remember(self) -> None:
        """Keeps the weights as they are before the step of the optimizer."""
        self.before = {
            name: {path: _sample(p).clone() for path, p in group.items()}
            for name, group in self.groups.items()
        }

    def updates(self) -> tuple[Measures, list[ParameterChange]]:
        """What the step did since `remember`.

        Returns:
            Of each group the norm of the weights; the norm of the change in this step as a fraction
            of a matrix's norm, the median over its matrices; and the share of the parameters that
            did not change. And whether each parameter changed.
        """
        measures: Measures = {"weight_norm": {}, "update_ratio": {}, "unchanged": {}}
        parameters: list[ParameterChange] = []
        groups = self.optimizer.param_groups
        training = {id(p) for g in groups if g["lr"] for p in g["params"] if p.requires_grad}
        for name, group in self.groups.items():
            rows = [_squares(p, self.before[name][path]) for path, p in group.items()]
            values = torch.stack(rows).tolist()
            matrices = [row for p, row in zip(group.values(), values, strict=True) if p.ndim > 1]
            ratios = [math.sqrt(row[1] / row[0]) for row in matrices or values if row[0]]
            measures["weight_norm"][name] = math.sqrt(sum(row[0] for row in values))
            measures["update_ratio"][name] = statistics.median(ratios or [0.0])
            measures["unchanged"][name] = sum(not row[1] for row in values) / len(group)
            parameters += [
                ParameterChange(
                    name, path, self.roles.get(id(p), ""), row[1] > 0, id(p) in training
                )
                for (path, p), row in zip(group.items(), values, strict=True)
            ]
        self.before = {}
        return measures, parameters


def _squares(parameter: nn.Parameter, before: Tensor) -> Tensor:
    """(2,), squared norms of a parameter and of its change, from a sample of its values."""
    after = _sample(parameter)
    factor = parameter.numel() / max(len(after), 1)
    return factor * torch.stack([x.double().square().sum() for x in (before, after - before)])


def _sample(parameter: nn.Parameter) -> Tensor:
    """Evenly spread values of a parameter."""
    values = parameter.detach().flatten()
    return values[:: max(1, math.ceil(len(values) / SAMPLE))]
