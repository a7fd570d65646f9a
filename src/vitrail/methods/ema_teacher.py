"""The mean teacher: a copy of the student that follows it slowly (Tarvainen & Valpola 2017,
https://arxiv.org/abs/1703.01780).
"""

import copy
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


class Teacher(nn.Module):
    """A frozen copy of the student's parts, by the same names.

    It drops nothing: dropout and stochastic depth stay off, and are the student's only. Batch
    norms are the exception that DINO's code makes too: in training they use the statistics of the
    images the teacher sees, and keep running ones of their own, which fit its own weights.
    """

    def __init__(self, parts: Mapping[str, nn.Module]) -> None:
        super().__init__()
        for name, part in copy.deepcopy(dict(parts)).items():  # at once: what is shared stays so
            self.add_module(name, part)
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> "Teacher":
        """Sets the mode of batch norms; the rest stays in evaluation."""
        super().train(False)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.train(mode)
        self.training = mode
        return self

    @torch.no_grad()
    def update(self, parts: Mapping[str, nn.Module], momentum: float) -> None:
        """Weights ← momentum · weights + (1 − momentum) · the student's. Call it after a step."""
        for name, part in parts.items():
            torch._foreach_lerp_(
                list(self.get_submodule(name).parameters()), list(part.parameters()), 1 - momentum
            )
