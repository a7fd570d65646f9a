"""The EMA teacher, or mean teacher: a copy of the student that follows it slowly (Tarvainen &
Valpola 2017, https://arxiv.org/abs/1703.01780).
"""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from vitrail.arguments import checked
from vitrail.errors import ConfigError
from vitrail.layers.batch_norms import BATCH_NORMS
from vitrail.values import Fraction


class EMATeacher(nn.Module):
    """A frozen copy of the student's modules, by the same names.

    Dropout and stochastic depth are off, for they are the student's only. Batch norms are the
    exception that DINO's code makes too: during training they normalize by the statistics of the
    teacher's own batch and keep running statistics of their own, which fit its weights.

    Args:
        modules: the student's modules by name. What they share, their copies share.

    Example:
        >>> student = {"head": nn.Linear(2, 2)}
        >>> teacher = EMATeacher(student)
        >>> student["head"].weight.data.add_(1.0).shape
        torch.Size([2, 2])
        >>> before = teacher.head.weight.clone()
        >>> teacher.update(student, momentum=0.75)
        >>> torch.allclose(teacher.head.weight - before, torch.full((2, 2), 0.25))
        True
    """

    @checked
    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, module in copy.deepcopy(dict(modules)).items():  # at once, to keep what is shared
            self.add_module(name, module)
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> "EMATeacher":
        """Sets the mode of batch norms; everything else stays in evaluation mode."""
        super().train(False)
        for module in self.modules():
            if isinstance(module, BATCH_NORMS):
                module.train(mode)
        self.training = mode
        return self

    @checked
    @torch.no_grad()
    def update(self, modules: Mapping[str, nn.Module], momentum: Fraction) -> None:
        """Moves the weights towards the student's. Call it after each step of the optimizer.

        Args:
            modules: the student's modules by name.
            momentum: weights become momentum · weights + (1 - momentum) · student's weights.

        Raises:
            ConfigError: the modules are not those that were copied, or the momentum is none.
        """
        names = {*dict(self.named_children())}
        if not {*modules} <= names:
            raise ConfigError(f"the teacher has the modules {sorted(names)}, not {[*modules]}.")
        for name, module in modules.items():
            weights, students = pair = (
                [*self.get_submodule(name).parameters()],
                [*module.parameters()],
            )
            require_same_shapes(*pair)
            for weight, student in zip(weights, students, strict=True):
                weight.lerp_(student, 1 - momentum)


def require_same_shapes(averages: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
    """Checks that weights are those that an average is of.

    Args:
        averages: the average's weights.
        weights: a model's, in the same order.

    Raises:
        ConfigError: they differ in number or in shape, so that some would be left out or repeated.

    Example:
        >>> require_same_shapes([torch.zeros(2)], [torch.ones(2)])
    """
    old, new = ([tuple(weight.shape) for weight in listed] for listed in (averages, weights))
    if old != new:
        pair = next((pair for pair in zip(old, new, strict=False) if len({*pair}) > 1), None)
        differing = f", the first that differ {pair[0]} and {pair[1]}" if pair else ""
        raise ConfigError(
            f"an EMA of {len(old)} weights does not fit a model of {len(new)}{differing}: update "
            "it by the model that it was made of, or make a new one."
        )
