"""What every parameter of every model starts from, as its paper's code has it.

One file per model file, with `SOURCE`, where the values stand, and `INITIAL`: pairs of a pattern of
whole parameter names and the distribution. The first pattern that matches counts.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

# Standard deviation of a parameter by its name, where it depends on the parameter's shape; the mean
# is 0. A row may have one instead of a `Start`.
Scale = Callable[[Mapping[str, Tensor], str], float]


class Start(NamedTuple):
    """A distribution by its mean and standard deviation; 0 for a constant."""

    mean: float
    std: float

    def mismatch(self, values: Tensor) -> str:
        """Why `values` were not drawn from this distribution; "" if they may have been."""
        values = values.detach().double().flatten()
        if not self.std:
            worst = (values - self.mean).abs().max().item()
            return f"is off {self.mean} by {worst:.3g}" if worst > 1e-6 else ""
        error = 5 / math.sqrt(len(values))  # five standard errors
        mean, std = values.mean().item(), values.std().item()
        if len(values) < 30 or abs(mean - self.mean) > error * self.std:
            return f"has mean {mean:.3g}, not {self.mean:.3g} ({len(values)} values)"
        if not abs(std / self.std - 1) < max(error, 0.02):
            return f"has std {std:.3g}, not {self.std:.3g} ({len(values)} values)"
        return ""


def normal(std: float) -> Start:
    """Normal, or truncated so far out that the standard deviation is the same."""
    return Start(0.0, std)


def uniform(bound: float) -> Start:
    """Uniform from -bound to bound."""
    return Start(0.0, bound / math.sqrt(3))


def constant(value: float) -> Start:
    """Every number is `value`."""
    return Start(value, 0.0)


def xavier_uniform(weight: Tensor) -> float:
    """Standard deviation of Xavier's uniform distribution for a weight (out, in)."""
    return math.sqrt(2 / sum(torch.Size(weight.shape[:2])))


def fan_in_uniform(parameters: Mapping[str, Tensor], name: str) -> float:
    """PyTorch's own start of a weight and of its bias: uniform within 1 / √fan_in."""
    weight = parameters[f"{name.rpartition('.')[0]}.weight"]
    return 1 / math.sqrt(3 * weight[0].numel())


def fan_out_normal(parameters: Mapping[str, Tensor], name: str) -> float:
    """√(2 / fan_out) of a convolution; one with a single input channel per filter is depthwise."""
    weight = parameters[name]
    outputs = 1 if weight.shape[1] == 1 else len(weight)
    return math.sqrt(2 / (outputs * weight[0, 0].numel()))


ZEROS, ONES = constant(0.0), constant(1.0)
