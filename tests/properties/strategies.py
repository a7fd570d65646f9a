"""What the properties draw: models, batches, names. The draws of a run are always the same."""

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.models.small import CASES, small
from vitrail.contract import model_case
from vitrail.models.base import Backbone

Function = TypeVar("Function", bound=Callable[..., Any])

# make test-all draws more of everything; VITRAIL_EXAMPLES says how many times.
MORE = int(os.environ.get("VITRAIL_EXAMPLES", "10"))

seeds = st.integers(0, 2**31)


def drawn(examples: int, **strategies: Any) -> Callable[[Function], Function]:
    """Decorator: a test of so many draws, always the same."""

    def decorate(function: Function) -> Function:
        options = {"deadline": None, "database": None, "derandomize": True}
        quick = settings(max_examples=examples, suppress_health_check=[*HealthCheck], **options)  # type: ignore[arg-type]
        return quick(given(**strategies)(function))

    return decorate


def drawn_more(examples: int, **strategies: Any) -> Callable[[Function], Function]:
    """The same with `MORE` times as many draws, among the slow tests."""

    def decorate(function: Function) -> Function:
        return pytest.mark.slow(drawn(MORE * examples, **strategies)(function))

    return decorate


@functools.lru_cache(maxsize=8)
def model_of(index: int) -> Backbone:
    """The small model of a case of the contract suite, whose branches all matter."""
    torch.manual_seed(index)
    name, more = CASES[index]
    return small(name, **more)


def images_of(model: Backbone, batch: int, seed: int) -> Tensor:
    """Images with values of a normal distribution."""
    generator = torch.Generator().manual_seed(seed)
    size = model_case.images_for(model, 1).shape[1:]
    return torch.randn(batch, *size, generator=generator)


def relative_error(one: Tensor, other: Tensor) -> float:
    """Largest difference divided by the largest value."""
    largest = other.abs().max().clamp(min=1e-6) if other.numel() else torch.ones(())
    return float((one - other).abs().max() / largest) if other.numel() else 0.0
