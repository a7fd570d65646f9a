"""A run that random events disturb ends with the bytes of one that nothing disturbs."""

from pathlib import Path

import pytest

from tests.faults.disturbed import KINDS, PROCESSES, disturb, events


@pytest.mark.slow
def test_events_change_no_byte(tmp_path: Path) -> None:
    result = disturb(tmp_path, 2 * len(KINDS))
    assert result["events"] == dict.fromkeys(KINDS, 2), result["log"]
    assert result["restarts"] >= 2 * len(KINDS)
    assert result["sha256"][0] == result["sha256"][1]


def test_events_are_of_all_kinds_and_of_all_processes() -> None:
    sequence = list(events(70))
    assert {event.kind for event in sequence} == set(KINDS)
    assert {event.rank for event in sequence} == set(range(PROCESSES))
    assert sequence == list(events(70)) != list(events(70, seed=1))
