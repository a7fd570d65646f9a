"""Learning rate and weight decay over the steps of a run."""

import math
from typing import Literal

from torch.optim import Optimizer

from vitrail.arguments import checked
from vitrail.values import Fraction, NonNegativeFloat, PositiveInt

Shape = Literal["cosine", "full_cosine", "linear", "constant", "step", "wsd"]
FALL_AT = {"linear": 0.0, "constant": 1.0, "wsd": None}  # None: at `drop_at`


def cosine(step: int, total: int, warmup: float, floor: float, *, full: bool = False) -> float:
    """Linear warm-up, then half a cosine (Loshchilov & Hutter 2016,
    https://arxiv.org/abs/1608.03983).

    Args:
        step: number of steps done.
        total: number of all steps.
        warmup: fraction of all steps in which the factor rises to 1.
        floor: factor at the end.
        full: whether the half cosine is over all steps, and the warm-up hides its beginning, as in
            the code of DeiT, Swin and SimMIM (timm's); otherwise it begins after the warm-up.

    Returns:
        The factor on the learning rate.

    Example:
        >>> [cosine(step, 10, 0.2, 0.0) for step in (0, 1, 2, 6)]
        [0.5, 1.0, 1.0, 0.5]
        >>> round(cosine(5, 10, 0.2, 0.0, full=True), 6)
        0.5
    """
    warm = round(total * warmup)
    if step < warm:
        return (step + 1) / warm
    progress = step / total if full else (step - warm) / max(total - warm, 1)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def drop(step: int, total: int, warmup: float, floor: float, drop_at: float) -> float:
    """Linear warm-up, then a constant rate that drops once.

    Args:
        step: number of steps done.
        total: number of all steps.
        warmup: fraction of all steps in which the factor rises to 1.
        floor: factor after the drop.
        drop_at: fraction of all steps after which it drops.

    Returns:
        The factor on the learning rate.

    Example:
        >>> [drop(step, 10, 0.2, 0.1, 0.5) for step in (0, 1, 4, 5, 9)]
        [0.5, 1.0, 1.0, 0.1, 0.1]
    """
    warm = round(total * warmup)
    if step < warm:
        return (step + 1) / warm
    return 1.0 if step < round(total * drop_at) else floor


def linear_fall(step: int, total: int, warmup: float, floor: float, fall_at: float = 0.0) -> float:
    """Linear warm-up, a constant rate, and a linear fall, as in WSD (Hu et al. 2024,
    https://arxiv.org/abs/2404.06395).

    Args:
        step: number of steps done.
        total: number of all steps.
        warmup: fraction of all steps in which the factor rises to 1.
        floor: factor at the end.
        fall_at: fraction of all steps after which it falls; 0 for right after the warm-up, 1 for
            never.

    Returns:
        The factor on the learning rate.

    Example:
        >>> [linear_fall(step, 10, 0.2, 0.0, 0.6) for step in (0, 1, 2, 6, 8)]
        [0.5, 1.0, 1.0, 1.0, 0.5]
    """
    warm = round(total * warmup)
    if step < warm:
        return (step + 1) / warm
    start = max(warm, round(total * fall_at))
    return 1.0 - (1 - floor) * max(step - start, 0) / max(total - start, 1)


def decay_at(progress: float, start: float, end: float | None) -> float:
    """Weight decay that follows half a cosine, as DINO's does (Caron et al. 2021,
    https://arxiv.org/abs/2104.14294).

    Args:
        progress: fraction of all steps that are done.
        start: weight decay at the beginning.
        end: weight decay at the end; None for a constant one.

    Returns:
        The weight decay.

    Example:
        >>> [round(decay_at(progress, 0.04, 0.4), 3) for progress in (0, 0.5, 1)]
        [0.04, 0.22, 0.4]
    """
    if end is None:
        return start
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


class Schedule:
    """Sets the learning rate and the weight decay of an optimizer before each step.

    A parameter group's `initial_lr`, its `lr` when the schedule first sees it, is multiplied by the
    factor of `cosine`, `drop` or `linear_fall`. Where the weight decay changes, it is multiplied by
    the group's `weight_decay_scale`.

    Args:
        total: number of all steps.
        warmup: fraction of all steps in which the learning rate rises.
        min_lr: factor on the learning rate at the end.
        shape: "cosine" after the warm-up; "full_cosine" over all steps, whose beginning the warm-up
            hides; "linear" after the warm-up; "constant"; "step", constant and then `min_lr`;
            "wsd", constant and then linear.
        drop_at: fraction of all steps after which the rate of "step" drops and that of "wsd" falls.
        weight_decay: weight decay at the beginning.
        weight_decay_end: weight decay at the end; None leaves that of the groups as it is.

    Example:
        >>> optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        >>> Schedule(10, warmup=0.2).apply(optimizer, step=0)
        >>> optimizer.param_groups[0]["lr"]
        0.05
    """

    @checked
    def __init__(
        self,
        total: PositiveInt,
        *,
        warmup: Fraction = 0.05,
        min_lr: NonNegativeFloat = 0.01,
        shape: Shape = "cosine",
        drop_at: Fraction = 0.9,
        weight_decay: NonNegativeFloat = 0.0,
        weight_decay_end: NonNegativeFloat | None = None,
    ) -> None:
        self.total, self.warmup, self.min_lr = total, warmup, min_lr
        self.shape, self.drop_at = shape, drop_at
        self.weight_decay, self.weight_decay_end = weight_decay, weight_decay_end

    def factor(self, step: int) -> float:
        """The factor on the learning rate.

        Args:
            step: number of steps done.

        Returns:
            The factor.
        """
        if self.shape == "step":
            return drop(step, self.total, self.warmup, self.min_lr, self.drop_at)
        if self.shape in FALL_AT:
            fall_at = FALL_AT[self.shape]
            fall_at = self.drop_at if fall_at is None else fall_at
            return linear_fall(step, self.total, self.warmup, self.min_lr, fall_at)
        full = self.shape == "full_cosine"
        return cosine(step, self.total, self.warmup, self.min_lr, full=full)

    @checked
    def apply(self, optimizer: Optimizer, step: int) -> None:
        """Sets the values for a step.

        Args:
            optimizer: whose parameter groups are changed.
            step: number of steps done.
        """
        factor = self.factor(step)
        decay = decay_at(step / self.total, self.weight_decay, self.weight_decay_end)
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor
            if self.weight_decay_end is not None:
                group["weight_decay"] = decay * group.get("weight_decay_scale", 1.0)
