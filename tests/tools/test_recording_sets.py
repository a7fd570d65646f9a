"""The sets of the recipes: nothing of the test is in training."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from tools import recording_sets


def test_no_frame_is_in_training_and_in_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    length = 120
    film = np.zeros((length, 40, 50, 3), np.uint8)
    film += np.arange(length, dtype=np.uint8)[:, None, None, None]  # a frame tells its number
    monkeypatch.setattr(recording_sets, "_frames", lambda _data: film)
    monkeypatch.setattr(recording_sets, "MOTION", 0.5)
    monkeypatch.setattr(recording_sets, "MOMENTS", {"train": 200, "test": 60})
    numbers: dict[str, set[int]] = {"train": set(), "test": set()}
    wheel = cast(Any, SimpleNamespace(read=lambda _name: b""))
    for split, name, _file, clip in recording_sets.videos(wheel):
        frames = clip[:, 0, 0, 0].astype(int)
        assert clip.shape == (8, 32, 32, 3)
        assert set(np.diff(frames)) == {recording_sets.SPEEDS[name]}
        numbers[split] |= set(frames.tolist())
    assert max(numbers["train"]) < 84 and min(numbers["test"]) >= 90  # 70 % and 75 % of 120


def test_cubes_of_the_test_touch_none_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (80, 140, 80)
    image = np.zeros(shape, np.uint8) + np.arange(140, dtype=np.uint8)[:, None]  # front to back
    monkeypatch.setattr(recording_sets, "_nifti", lambda _wheel, _name: image + 0)
    monkeypatch.setattr(recording_sets, "COUNTS", {"train": 40, "test": 10})
    ranges: dict[str, set[int]] = {"train": set(), "test": set()}
    for split, _name, _file, cube in recording_sets.volumes(cast(Any, None)):
        ranges[split] |= {round(float(v)) for v in np.unique(cube)}
    assert ranges["train"] and ranges["test"] and not ranges["train"] & ranges["test"]
