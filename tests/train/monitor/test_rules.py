"""Each rule finds what it is for, and nothing in a healthy step."""

from typing import Any

import pytest

from vitrail.lens.health import Measures
from vitrail.train.monitor.rules import Alarm, RateRule, Symptom, find, frozen_symptoms
from vitrail.train.monitor.weights import ParameterChange

HEALTHY: Measures = {
    "gradient_norm": {"embed": 0.1, "block 0": 0.2, "block 1": 0.3, "head": 0.5},
    "attention_to_self": {"block 0": [0.05, 0.9], "block 1": [0.02, 0.3]},
    "attention_to_one_token": {"block 0": [0.2, 0.9], "block 1": [0.1, 0.1]},
    "head_output": {"block 0": [0.5, 0.01], "block 1": [2.0, 1.0]},
    "head_gradient": {"block 0": [0.1, 0.001]},
    "dead_units": {"block 0": 0.0, "block 1": 0.2},
    "update_ratio": {"embed": 0.9, "block 0": 0.005, "block 1": 0.03, "head": 0.9},
}


def test_a_healthy_step_has_no_findings() -> None:
    assert list(find(HEALTHY)) == []


@pytest.mark.parametrize(
    ("measure", "part", "value", "symptom"),
    [
        ("attention_to_self", "block 1", [0.1, 0.96], ("head_to_self", "block 1", 1)),
        ("attention_to_one_token", "block 0", [0.99, 0.1], ("head_to_one_token", "block 0", 0)),
        ("head_output", "block 1", [2.0, 0.0], ("dead_head", "block 1", 1)),
        ("head_output", "block 1", [0.0, 0.0], ("dead_head", "block 1", 0)),
        ("head_gradient", "block 0", [0.0, 0.1], ("dead_head", "block 0", 0)),
        ("dead_units", "block 0", 0.5, ("dead_units", "block 0", None)),
        ("gradient_norm", "embed", 0.0, ("no_gradient", "embed", None)),
    ],
)
def test_each_rule_finds_its_fault(
    measure: str, part: str, value: float | list[float], symptom: tuple[str, str, int | None]
) -> None:
    measures = {name: dict(parts) for name, parts in HEALTHY.items()}
    measures[measure][part] = value
    assert next(find(measures))[:3] == symptom


def test_what_no_gradient_reaches_at_all_is_no_finding() -> None:
    """A step that was left out, a head that a method does not use, a part of no gradient."""
    zero = dict.fromkeys(HEALTHY["gradient_norm"], 0.0)
    assert list(find({"gradient_norm": zero})) == []
    assert list(find({"gradient_norm": {**HEALTHY["gradient_norm"], "head": 0.0}})) == []
    assert list(find({"head_gradient": {"block 0": [0.0, 0.0]}})) == []


def changes(frozen: dict[int, tuple[str, ...]]) -> list[ParameterChange]:
    """Three blocks with four parameters each, of which some do not change."""
    roles = ("norm.weight", "mixer.qkv.weight", "mlp.fc1.weight", "mlp.fc2.weight")
    return [
        ParameterChange(f"block {i}", f"blocks.{i}.{role}", role, changed, changed)
        for i in range(3)
        for role in roles
        for changed in [role not in frozen.get(i, ())]
    ]


ALL = ("norm.weight", "mixer.qkv.weight", "mlp.fc1.weight", "mlp.fc2.weight")


@pytest.mark.parametrize(
    ("frozen", "found"),
    [
        ({}, []),
        ({1: ALL}, ["blocks.1"]),
        ({2: ("mlp.fc1.weight", "mlp.fc2.weight")}, ["blocks.2.mlp"]),
        ({2: ("mixer.qkv.weight",)}, ["blocks.2.mixer.qkv.weight"]),
        ({0: ALL}, []),  # from below: on purpose
        ({0: ALL, 1: ALL}, []),
        (dict.fromkeys(range(3), ("mlp.fc1.weight",)), []),  # the same of every block
        ({0: ALL, 2: ALL}, ["blocks.2"]),
    ],
)  # fmt: skip
def test_frozen_by_mistake_is_above_what_learns(
    frozen: dict[int, tuple[str, ...]], found: list[str]
) -> None:
    assert [symptom.part for symptom in frozen_symptoms(changes(frozen))] == found


def test_a_warning_comes_once_and_after_three_measurements() -> None:
    symptom, alarm = Symptom("head_to_self", "block 4", 2, 0.99), Alarm()
    counts = [len(alarm(step, [symptom, symptom])) for step in (800, 810, 820, 830)]
    assert counts == [0, 0, 1, 0]
    interrupted = Alarm()
    shows: list[Any] = [[symptom], [symptom], [], [symptom], [symptom]]
    assert not any(interrupted(step, what) for step, what in enumerate(shows))
    (warning,) = interrupted(5, [symptom])
    assert (warning.step, warning.since, warning.head) == (5, 3, 2)


def test_the_state_goes_on() -> None:
    symptom, alarm = Symptom("head_to_self", "block 4", 2, 0.99), Alarm()
    alarm(10, [symptom])
    alarm(20, [symptom])
    other = Alarm()
    other.load_state(alarm.state())
    (warning,) = other(30, [symptom])
    assert warning.since == 10
    third = Alarm()
    third.load_state(other.state())
    assert third(40, [symptom]) == []


def test_a_parameter_that_nothing_depends_on_is_not_frozen() -> None:
    """Of CvT's last block only the class token is read."""
    rows = changes({2: ("mixer.qkv.weight",)})
    unread = [row._replace(trains=True) for row in rows]
    assert list(frozen_symptoms(unread)) == []


def rate_measures(std: float, ratio: float) -> Measures:
    return {
        "activation_std": {"block 0": 100.0, "block 1": float(std)},
        "update_ratio": {"block 0": ratio, "block 1": ratio, "head": ratio},
    }


@pytest.mark.parametrize(
    ("stds", "ratio", "parts"),
    [
        ([1, 5, 7, 7.9], 0.1, []),  # as a pyramid's grow that starts small
        ([1, 5, 9], 0.1, ["block 1"]),
        ([1, 5, 9], 0.02, []),  # by small steps
        ([9, 1, 5], 0.1, []),  # smaller than before
    ],
)
def test_activations_that_explode_by_large_steps(
    stds: list[float], ratio: float, parts: list[str]
) -> None:
    rule = RateRule()
    symptoms = [rule(10 * n, rate_measures(std, ratio)) for n, std in enumerate(stds, 1)]
    assert [symptom.part for symptom in symptoms[-1]] == parts


def test_growth_counts_within_a_hundred_steps() -> None:
    rule = RateRule()
    for step in range(0, 1000, 50):
        assert rule(step, rate_measures(1 + step, 0.1)) == [] or step < 200
    other = RateRule()
    other.load_state(rule.state())
    assert len(other.state()) == 2
    assert other(1000, rate_measures(9000, 0.1))[0].value == pytest.approx(9000 / 951)
