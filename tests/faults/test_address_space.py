"""Memory that is really too small: the address space of the process is limited while it trains."""

import multiprocessing
import os
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

# (step before which the limit is set, where between what a run with half the batch takes and what
# this one takes). So half a batch fits, and a whole one does not.
PLACES = [(0, 0.7), (0, 0.3), (1, 0.5), (2, 0.3), (3, 0.4)]
STOPPED = 7  # exit code of a run that stopped with one line

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc tells of memory")


def large_batches(accumulate: int = 1) -> RunConfig:
    """A run of four steps, which take some 200 MB less with accumulation."""
    return tiny(
        "model.options={image_size: 32, patch_size: 4, dim: 32, depth: 5, heads: 2, mlp_dim: 256}",
        "data.augment={crop: none, flip: 0}", "data.limit=null", "schedule.epochs=2",
        f"data.batch_size={512 // accumulate}", f"optim.accumulate={accumulate}",
        "train.save_every=1", "train.log_every=1", "optim.ema=0", "train.keep=last",
    )  # fmt: skip


def _address_space(kind: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(kind))


def _train(folder: str, step: int, limit: int | None, accumulate: int) -> None:
    def restrict(_trainer: Trainer) -> None:
        now = _address_space("VmSize")
        (Path(folder) / "before").write_text(str(now))
        if limit is not None:
            hard = resource.getrlimit(resource.RLIMIT_AS)[1]
            resource.setrlimit(resource.RLIMIT_AS, (now + limit, hard))

    log = os.open(Path(folder) / "log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 2)
    try:
        config, callback = large_batches(accumulate), CallAt(step, restrict)
        train_run(config, Path(folder) / "run", callbacks=[callback])
    except TrainingError as problem:
        sys.stderr.write(f"{problem}\n")
        sys.exit(STOPPED if "\n" not in str(problem) else 1)
    (Path(folder) / "peak").write_text(str(_address_space("VmPeak")))


def _in_a_process(
    folder: Path, step: int, limit: int | None = None, accumulate: int = 1
) -> int | None:
    folder.mkdir(parents=True)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.warm"])
    process = context.Process(target=_train, args=(str(folder), step, limit, accumulate))
    process.start()
    process.join(300)
    return process.exitcode


def limited_run(folder: Path, place: int) -> dict[str, int]:
    """A run whose memory is limited at one place → how it ended."""
    step, fraction = PLACES[place]
    taken = []
    for name, accumulate in (("half", 2), ("whole", 1)):
        assert _in_a_process(folder / name, step, accumulate=accumulate) == 0
        before, peak = (int((folder / name / file).read_text()) for file in ("before", "peak"))
        taken.append(peak - before)
    half, more = taken[0], taken[1] - taken[0]
    assert more > 2**26
    code = _in_a_process(folder / "limited", step, int(half + fraction * more))
    whole, run = (RunFolder(folder / name / "run") for name in ("whole", "limited"))
    losses = [
        [line["loss"] for line in lines.metrics if line["split"] == "train"]
        for lines in (whole, run)
    ]
    divided = "do not fit into memory" in (folder / "limited" / "log").read_text()
    return {
        "places": 1,
        "went_on": code == 0 and divided and losses[1] == pytest.approx(losses[0], abs=1e-6),
        "stopped_in_a_line": code == STOPPED,
        "checkpoints_whole": all(checkpoint._read(path, False) for path in run.checkpoints),
    }


@pytest.mark.slow
def test_a_run_goes_on_in_less_memory(tmp_path: Path) -> None:
    counts = limited_run(tmp_path, 1)
    assert counts["went_on"]
    assert counts["checkpoints_whole"]
