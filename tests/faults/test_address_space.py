"""Memory that is really too small: the address space of the process is limited while it trains."""

import multiprocessing
import resource
import sys
from pathlib import Path

import pytest

from tests.faults.harness import CallAt
from tests.train.tiny import tiny
from vitrail.errors import TrainingError
from vitrail.run_folder import RunFolder
from vitrail.train import checkpoint
from vitrail.train.config import RunConfig
from vitrail.train.factory import train_run
from vitrail.train.trainer import Trainer

# (step before which the limit is set, fraction of what a step takes that is left)
PLACES = [(0, 0.7), (0, 0.4), (1, 0.5), (2, 0.3), (3, 0.6)]
STOPPED = 7  # exit code of a run that stopped with one line

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells of memory")


def large_batches() -> RunConfig:
    """A run of four steps, each of which takes some 300 MB."""
    return tiny(
        "model.options={image_size: 64, patch_size: 4, dim: 64, depth: 3, heads: 2, mlp_dim: 256}",
        "data.augment={crop: none, flip: 0}", "data.limit=330", "data.batch_size=128",
        "schedule.epochs=2", "train.save_every=1", "train.log_every=1", "optim.ema=0",
        "train.keep=last",
    )  # fmt: skip


def _address_space(kind: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


def _train(folder: str, step: int, limit: int | None) -> None:
    def restrict(_trainer: Trainer) -> None:
        now = _address_space("VmSize")
        (Path(folder) / "before").write_text(str(now))
        if limit is not None:
            hard = resource.getrlimit(resource.RLIMIT_AS)[1]
            resource.setrlimit(resource.RLIMIT_AS, (now + limit, hard))

    try:
        train_run(large_batches(), Path(folder) / "run", callbacks=[CallAt(step, restrict)])
    except TrainingError as problem:
        sys.exit(STOPPED if "\n" not in str(problem) else 1)
    (Path(folder) / "peak").write_text(str(_address_space("VmPeak")))


def _in_a_process(folder: Path, step: int, limit: int | None) -> int | None:
    folder.mkdir(parents=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.warm"])
    process = context.Process(target=_train, args=(str(folder), step, limit))
    process.start()
    process.join(300)
    return process.exitcode


def limited_run(folder: Path, place: int) -> dict[str, int]:
    """A run whose memory is limited at one place → how it ended."""
    step, fraction = PLACES[place]
    assert _in_a_process(folder / "whole", step, None) == 0
    before, peak = (int((folder / "whole" / name).read_text()) for name in ("before", "peak"))
    code = _in_a_process(folder / "limited", step, int(fraction * (peak - before)))
    whole, run = (RunFolder(folder / name / "run") for name in ("whole", "limited"))
    losses = [
        [line["loss"] for line in lines.metrics if line["split"] == "train"]
        for lines in (whole, run)
    ]
    return {
        "places": 1,
        "went_on": code == 0 and all(abs(a - b) <= 1e-6 for a, b in zip(*losses, strict=True)),
        "stopped_in_a_line": code == STOPPED,
        "checkpoints_whole": all(checkpoint._read(path, False) for path in run.checkpoints),
    }


@pytest.mark.slow
def test_a_run_goes_on_in_less_memory(tmp_path: Path) -> None:
    counts = limited_run(tmp_path, 1)
    assert counts["went_on"] + counts["stopped_in_a_line"] == 1
    assert counts["checkpoints_whole"]
