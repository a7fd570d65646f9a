"""The learning rate and the weight decay over the steps of a run."""

import math


def cosine(step: int, total: int, warmup: float, floor: float) -> float:
    """Factor on the learning rate at a step: a straight warm-up, then half a cosine to `floor`.

    Loshchilov & Hutter 2016, https://arxiv.org/abs/1608.03983.
    """
    warm = round(total * warmup)
    if step < warm:
        return (step + 1) / warm
    progress = (step - warm) / max(total - warm, 1)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def decay_at(progress: float, start: float, end: float | None) -> float:
    """Weight decay after the part `progress` of a run: half a cosine from `start` to `end`.

    DINO (Caron et al. 2021, https://arxiv.org/abs/2104.14294) lets it grow. None: it stays.
    """
    if end is None:
        return start
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))
