"""Learning rate and weight decay over a run, and seeds."""

import itertools
import math

import pytest
import torch

from vitrail.train.schedule import Schedule, cosine, decay_at
from vitrail.train.seeds import mix_seed


def test_warm_up_and_cosine() -> None:
    rates = [cosine(step, 100, 0.1, 0.01) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.505)
    assert rates[-1] == pytest.approx(0.01, abs=1e-3)
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert cosine(0, 10, 0.0, 0.0) == 1.0


def test_a_full_cosine_is_over_all_steps() -> None:
    """timm's: the warm-up hides the beginning, so that the rate falls at once after it."""
    rates = [
        Schedule(100, warmup=0.2, min_lr=0.1, shape="full_cosine").factor(s) for s in range(100)
    ]
    assert rates[19] == 1.0
    expected = [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / 100)) for step in range(20, 100)]
    assert rates[20:] == pytest.approx(expected)


def test_a_step_drops_once() -> None:
    schedule = Schedule(80, warmup=0.1, min_lr=0.1, shape="step", drop_at=0.875)
    rates = [schedule.factor(step) for step in range(80)]
    assert rates == pytest.approx([(i + 1) / 8 for i in range(8)] + [1.0] * 62 + [0.1] * 10)


def test_weight_decay() -> None:
    assert [decay_at(p, 0.04, None) for p in (0, 0.5, 1)] == [0.04] * 3
    assert [decay_at(p, 0.04, 0.4) for p in (0, 0.5, 1)] == pytest.approx([0.04, 0.22, 0.4])


def test_a_schedule_scales_each_group_of_any_optimizer() -> None:
    first, second = (torch.zeros(2, requires_grad=True) for _ in range(2))
    groups = [
        {"params": [first], "lr": 1.0, "weight_decay_scale": 0.5},
        {"params": [second], "lr": 0.1, "weight_decay": 0.3},
    ]
    optimizer = torch.optim.SGD(groups, lr=9.0)
    schedule = Schedule(10, warmup=0.5, weight_decay=0.2, weight_decay_end=0.2)
    for step in (0, 1, 4):
        schedule.apply(optimizer, step)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([(step + 1) / 5, (step + 1) / 50])
    assert [g["weight_decay"] for g in optimizer.param_groups] == pytest.approx([0.1, 0.2])
    constant = torch.optim.SGD([{"params": [first], "weight_decay": 0.3}], lr=1.0)
    Schedule(10, weight_decay=0.2).apply(constant, 3)
    assert constant.param_groups[0]["weight_decay"] == 0.3  # nothing changes it


def test_seeds_of_neighboring_numbers_differ() -> None:
    seeds = {mix_seed(a, b, c) for a in range(8) for b in range(8) for c in range(8)}
    assert len(seeds) == 512
    assert mix_seed(1, 2) == mix_seed(1, 2) != mix_seed(2, 1)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_linear_constant_and_wsd() -> None:
    def rates(shape: str) -> list[float]:
        schedule = Schedule(100, warmup=0.1, min_lr=0.2, shape=shape, drop_at=0.8)
        return [schedule.factor(step) for step in range(100)]

    warm_up = [(step + 1) / 10 for step in range(10)]
    assert rates("constant") == pytest.approx(warm_up + [1.0] * 90)
    assert rates("linear") == pytest.approx(warm_up + [1 - 0.8 * i / 90 for i in range(90)])
    assert rates("wsd") == pytest.approx(
        warm_up + [1.0] * 70 + [1 - 0.8 * i / 20 for i in range(20)]
    )
