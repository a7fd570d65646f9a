"""How many branches stochastic depth lets through in a step."""

from functools import partial
from typing import Any

from torch import Tensor, nn

from vitrail.layers.block import DropPath
from vitrail.lens.health import Measures
from vitrail.models.base import Backbone
from vitrail.train.monitor.probe import block_names

FEW = 64  # values of a sample's branch, which are all 0 where it was dropped


class DropPaths:
    """Counts the samples whose residual branches were dropped in the forward of a step.

    Its hooks are there for one step only, and read what the step computes.

    Args:
        model: the model in training.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=2, heads=1, mlp_dim=8,
        ...                     drop_path=0.9)
        >>> paths = DropPaths(model)
        >>> paths.start()
        >>> logits = model(torch.rand(64, 3, 8, 8))
        >>> survival = paths.stop()["drop_path_survival"]
        >>> list(survival), survival["block 1"] < 0.5
        (['block 1'], True)
    """

    def __init__(self, model: Backbone) -> None:
        names = block_names(model)
        self.modules = [
            (names[id(m)], m)
            for m in model.modules()
            if isinstance(m, DropPath) and m.rate and id(m) in names
        ]
        self.hooks: list[Any] = []
        self.survival: dict[str, list[Tensor]] = {}

    def start(self) -> None:
        """Counts from here on."""
        self.hooks = [
            module.register_forward_hook(partial(self._count, part))
            for part, module in self.modules
        ]

    def stop(self) -> Measures:
        """Counts no more, and gives the share of branches that survived, by block."""
        for hook in self.hooks:
            hook.remove()
        shares: dict[str, float | list[float]] = {
            part: sum(float(share) for share in values) / len(values)
            for part, values in self.survival.items()
        }
        self.hooks, self.survival = [], {}
        return {"drop_path_survival": shares} if shares else {}

    def _count(
        self, part: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
    ) -> None:
        if module.training:
            before, after = (x.detach().flatten(1)[:, :FEW].any(dim=1) for x in (inputs[0], output))
            share = after.sum() / before.sum().clamp_min(1)
            self.survival.setdefault(part, []).append(share)
