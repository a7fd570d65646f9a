"""Every parameter of every model starts from the distribution that its paper's code has."""

import importlib
import pkgutil
import re
from typing import Any

import pytest
import torch
from torch import Tensor

import tests.models.initial_values as tables
from tests.models.initial_values import Start, normal
from tests.models.small import fresh
from vitrail.models.registry import model_classes

MODULES = [
    importlib.import_module(f"{tables.__name__}.{info.name}")
    for info in pkgutil.iter_modules(tables.__path__)
]
INITIAL = {name: rows for module in MODULES for name, rows in module.INITIAL.items()}
KEYWORDS = {name: more for module in MODULES for name, more in module.CLASSES.items()}


def test_every_model_has_a_table() -> None:
    assert sorted(INITIAL) == sorted(model_classes())


@pytest.mark.parametrize("name", sorted(INITIAL))
def test_parameters_start_as_in_the_paper_s_code(name: str) -> None:
    torch.manual_seed(0)
    model = fresh(name, **KEYWORDS.get(name, {}))
    parameters = dict(model.named_parameters())
    groups: dict[str, list[Tensor]] = {pattern: [] for pattern, _ in INITIAL[name]}
    starts = dict(INITIAL[name])
    for parameter_name, parameter in parameters.items():
        pattern = next((p for p in groups if re.fullmatch(p, parameter_name)), None)
        assert pattern is not None, f"{parameter_name} is in no row"
        start = starts[pattern]
        std = 1.0 if isinstance(start, Start) else start(parameters, parameter_name)
        groups[pattern].append(parameter.flatten() / std)
    problems = {}
    for pattern, values in groups.items():
        start = starts[pattern] if isinstance(starts[pattern], Start) else normal(1.0)
        problems[pattern] = start.mismatch(torch.cat(values)) if values else "unused"
    problems = {pattern: problem for pattern, problem in problems.items() if problem}
    assert not problems


@pytest.mark.parametrize(
    ("values", "matches"),
    [
        (torch.randn(4000) * 0.02, True),
        (torch.randn(4000) * 0.2, False),
        (torch.zeros(4000), False),
    ],
)
def test_a_wrong_start_is_noticed(values: Any, matches: bool) -> None:
    assert (normal(0.02).mismatch(values) == "") is matches
