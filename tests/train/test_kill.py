"""kill -9 at any moment, then --resume: the same bytes as the run that was never killed."""

from pathlib import Path

import pytest

from tests.faults.stopped_runs import StoppedRuns


def test_killed_twice(tmp_path: Path) -> None:
    runs = StoppedRuns(tmp_path, "supervised", workers=0)
    assert runs.killed(in_a_save=True) == {"in_a_save": True, "equal": True}
    assert runs.killed(in_a_save=False)["equal"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_twenty_moments(tmp_path: Path, workers: int) -> None:
    runs = StoppedRuns(tmp_path, "mae", workers=workers, seed=workers)
    ends = [runs.killed(in_a_save=number % 2 == 0) for number in range(20)]
    assert all(end["equal"] for end in ends)
    assert sum(end["in_a_save"] for end in ends) >= 5
