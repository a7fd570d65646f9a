"""Ends the processes that read samples for a run that was stopped."""

import multiprocessing
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _no_workers_left() -> Iterator[None]:
    """Otherwise the garbage collector waits five seconds for each, in some later test."""
    yield
    for process in multiprocessing.active_children():
        process.terminate()
