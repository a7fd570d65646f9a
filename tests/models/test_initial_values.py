"""Every parameter of every model starts from the distribution that its paper's code has."""

import importlib
import pkgutil
import re
from typing import Any

import pytest
import torch
from torch import Tensor

import tests.models.initial_values as tables
from tests.models.initial_values import normal
from tests.models.small import small
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
    model = small(name, **KEYWORDS.get(name, {}))
    groups: dict[str, list[Tensor]] = {pattern: [] for pattern, _ in INITIAL[name]}
    for parameter_name, parameter in model.named_parameters():
        pattern = next((p for p in groups if re.fullmatch(p, parameter_name)), None)
        assert pattern is not None, f"{parameter_name} is in no row"
        groups[pattern].append(parameter.flatten())
    problems = {
        pattern: problem
        for pattern, start in INITIAL[name]
        if (problem := start.mismatch(torch.cat(groups[pattern])) if groups[pattern] else "unused")
    }
    assert not problems


@pytest.mark.parametrize(
    ("values", "matches"),
    [(torch.randn(4000) * 0.02, True), (torch.randn(4000) * 0.2, False), (torch.zeros(4000), False)],
)
def test_a_wrong_start_is_noticed(values: Any, matches: bool) -> None:
    assert (normal(0.02).mismatch(values) == "") is matches
