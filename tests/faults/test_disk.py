"""A file system that fails at any call of a save leaves a checkpoint, and one line."""

import builtins
import errno
import io
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import vitrail
from tests.train.test_fit import digest
from tests.train.tiny import tiny
from vitrail.errors import TrainingError, VitrailError
from vitrail.files import OLD, TEMPORARY
from vitrail.methods.supervised import Supervised
from vitrail.run_folder import RunFolder
from vitrail.train import checkpoint
from vitrail.train.checkpoint import Progress, TrainState, load_checkpoint, save_checkpoint
from vitrail.train.factory import train_run
from vitrail.train.stopping import explain_stop
from vitrail.train.writers.files import open_whole

CALLS = 40
KINDS = ("fsync", "replace", "write", "open")
FAULTS = [errno.EIO, errno.ENOSPC, errno.EACCES]


@pytest.fixture(scope="module")
def state() -> TrainState:
    torch.manual_seed(0)
    model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=1, mlp_dim=8)
    return TrainState(Supervised(model), torch.optim.SGD(model.parameters(), 0.1), None, None)


class Disk:
    """Fails at the call of a number, of one of the system's functions."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.patch, self.kind, self.number, self.error, self.calls = patch, "", 0, 0, 0
        for kind in ("fsync", "replace", "open", "mkdir", "unlink", "rmdir"):
            self._wrap(os, kind, kind)
        self._wrap(io, "open", "open")
        self._wrap(builtins, "open", "open")
        real = builtins.open

        def opened(*arguments: Any, **keywords: Any) -> Any:
            file = real(*arguments, **keywords)
            mode = arguments[1] if len(arguments) > 1 else keywords.get("mode", "r")
            return _File(file, self) if "w" in mode else file

        patch.setattr(io, "open", opened)
        patch.setattr(builtins, "open", opened)

    def _wrap(self, module: Any, name: str, kind: str) -> None:
        real = getattr(module, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            self.check(kind)
            return real(*arguments, **keywords)

        self.patch.setattr(module, name, call)

    def check(self, kind: str) -> None:
        if kind != self.kind:
            return
        self.calls += 1
        if self.calls == self.number:
            raise OSError(self.error, os.strerror(self.error))


class _File:
    def __init__(self, file: Any, disk: Disk) -> None:
        self.file, self.disk = file, disk

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_arguments: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, data: Any) -> int:
        half = len(data) // 2
        try:
            self.disk.check("write")
        except OSError:
            self.file.write(data[:half])
            raise
        return self.file.write(data)


def faults(disk: Disk) -> Iterator[tuple[str, int, int]]:
    for kind in ("fsync", "replace", "write", "open", "mkdir", "unlink", "rmdir"):
        for error in FAULTS:
            for number in range(1, CALLS + 1):
                disk.kind, disk.number, disk.error, disk.calls = kind, number, error, 0
                yield kind, number, error
                reached, disk.kind = disk.calls >= number, ""
                if not reached:
                    break


def test_a_save_that_fails_loses_nothing(
    tmp_path: Path, state: TrainState, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, count = Disk(monkeypatch), 0
    for kind, number, error in faults(disk):
        disk.kind, chosen = "", kind
        run = RunFolder(tmp_path / f"{kind}{number}-{error}")
        for step in (1, 2):
            save_checkpoint(run, Progress(step, 5, {}), state)
        disk.kind = chosen
        try:
            save_checkpoint(run, Progress(3, 5, {}), state)
        except TrainingError as problem:
            text = str(problem)
            assert "\n" not in text
            assert os.strerror(error) in text
            assert "step 3 cannot be saved" in text
            count += 1
        calls, disk.kind = disk.calls, ""
        lines: list[str] = []
        assert load_checkpoint(run, state, tell=lines.append).step >= 2
        assert lines == []
        save_checkpoint(run, Progress(4, 5, {}), state)
        assert load_checkpoint(run, state).step == 4
        names = {path.name for path in run.checkpoints_folder.iterdir()}
        assert not [name for name in names if TEMPORARY in name or OLD in name]
        disk.calls, disk.kind = calls, chosen
    assert count > 50, count


def failing_runs(folder: Path, kind: str, error: int, numbers: Iterable[int]) -> dict[str, int]:
    """Runs whose first, second ... call of one kind fails → what of them was right.

    Every fourth is resumed, or started anew where nothing was saved, and ends with the bytes of an
    undisturbed run.
    """
    epochs = 14 if kind == "replace" else 1  # of which a save makes one
    config = tiny(
        f"schedule.epochs={epochs}", "data.limit=100", "train.save_every=1", "train.keep=last"
    )
    train_run(config, folder / "whole")
    expected = digest(folder / "whole")
    counts = dict.fromkeys(("faults", "one_line", "loadable", "resumed", "equal"), 0)
    for number in numbers:
        run = RunFolder(folder / f"run{number}")
        problem: Exception | None = None
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch)
            disk.kind, disk.number, disk.error = kind, number, error
            try:
                train_run(config, run.path)
            except (VitrailError, OSError) as failure:  # the command line makes one line of each
                problem = failure
            if disk.calls < number:
                break
        counts["faults"] += 1
        counts["one_line"] += "\n" not in str(problem)
        counts["loadable"] += all(checkpoint._read(path, False) for path in run.checkpoints)
        if number % 4 == 0:
            train_run(config, run.path, resume=run.settings_file.exists())
            counts["resumed"] += 1
            counts["equal"] += digest(run.path) == expected
        shutil.rmtree(run.path, ignore_errors=True)
    return counts


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_survives_a_call_that_fails(tmp_path: Path, kind: str) -> None:
    counts = failing_runs(tmp_path, kind, errno.EIO, [4])
    assert counts == dict.fromkeys(counts, 1)


def test_every_error_of_a_file_system_is_explained() -> None:
    run = RunFolder("nowhere")
    for error, cure in ((errno.EIO, "Check"), (errno.ENOSPC, "Make room"), (errno.EACCES, "Allow")):
        text = str(explain_stop(OSError(error, os.strerror(error), "a.txt"), run, 8, 1))
        assert text.startswith(f"a.txt: {os.strerror(error)}; there is no checkpoint yet. {cure}")


def test_the_log_has_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for content, length, expected in (
        (b'{"a": 1}\n{"a": 2}\n{"a', None, b'{"a": 1}\n{"a": 2}\n'),
        (b'{"a": 1}\n{"a": 2}\n', 9, b'{"a": 1}\n'),
        (b'{"a": 1}\n{"a"', 99, b'{"a": 1}\n'),  # lost with a disk's cache
        (b"", 99, b""),
    ):
        path.write_bytes(content)
        with open_whole(path, length) as file:
            assert file.tell() == len(expected)
            file.write(b"{}\n")
        assert path.read_bytes() == expected + b"{}\n"
