"""The long proofs that runs survive and that nobody gets in, in pieces that can be resumed.

    python -m tests.faults.proofs NAME --seed N --out FILE

runs one piece of a proof and writes its counts, a JSON object of whole numbers; a name that ends in
"_max" is the largest of the pieces, any other their sum. `make evidence` runs all pieces, and
`tests/` smaller copies of them.
"""

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.stopped_runs import FIVE, SUPERVISED, StoppedRuns

Counts = dict[str, float]
CASES = [(method, workers, 1) for method in FIVE for workers in (0, 2)]
TOGETHER = [(method, workers, 2) for method in (SUPERVISED, "mae") for workers in (0, 2)]


def kills(folder: Path, seed: int) -> Counts:
    """kill -9: seeds 0 to 9 are 5 kills of one process, 10 to 13 are 3 of two processes."""
    method, workers, processes = [*CASES, *TOGETHER][seed]
    runs = StoppedRuns(folder, method, workers=workers, processes=processes, seed=seed)
    counts: Counter[str] = Counter()
    for number in range(5 if processes == 1 else 3):
        counts.update({"kills": 1, **runs.killed(in_a_save=number < 2)})
    return dict(counts)


def signals(folder: Path, seed: int) -> Counts:
    """Seeds 0 to 9: 5 SIGTERM and a SIGHUP each, the last four of them of two processes."""
    cases = [(method, workers, 1) for method in FIVE[:3] for workers in (0, 2)] + TOGETHER
    method, workers, processes = cases[seed]
    runs = StoppedRuns(folder, method, workers=workers, processes=processes, seed=seed)
    counts: Counter[str] = Counter()
    for number in range(6):
        kind = signal.SIGHUP if number == 5 else signal.SIGTERM
        counts.update({kind.name: 1, **runs.signalled(kind)})
    return dict(counts)


def launcher(folder: Path, seed: int) -> Counts:
    """torchrun of two processes: SIGTERM to it alone (even seeds), or to all its processes.

    The processes of seeds 2 and 3 share the weights out (FSDP).
    """
    from tests.faults.test_launcher import launched_and_stopped

    sharding, to_all = "null" if seed < 2 else "fsdp", seed % 2 == 1
    return dict(launched_and_stopped(folder, sharding, to_all=to_all, seconds=0.2 * seed))


def damage(folder: Path, seed: int) -> Counts:
    """100 flips and truncations of the files of a checkpoint, a model, a method, the best weights.

    A tenth of them is met on --resume, in the newest checkpoint.
    """
    from tests.faults.test_damage import damaged_files, resume_from_damage

    choose = random.Random(seed)
    counts = Counter(damaged_files(folder / "files", choose, 90))
    counts.update(resume_from_damage(folder / "resumed", choose, 10))
    return dict(counts)


def disk(folder: Path, seed: int) -> Counts:
    """Errors at the first 40 calls of one kind: seed = kind * 3 + error."""
    from tests.faults.test_disk import CALLS, FAULTS, KINDS, failing_runs

    numbers = range(1, CALLS + 1)
    return dict(failing_runs(folder, KINDS[seed // 3], FAULTS[seed % 3], numbers))


def not_finite(folder: Path, seed: int) -> Counts:
    """NaN or infinity at 5 steps of the loss, the gradient, the input or the weights."""
    from tests.faults.test_not_finite import spoiled_runs

    what = ("loss", "gradient", "input", "weights")[seed]
    return dict(spoiled_runs(folder, what, (0, 3, 8, 15, 23)))


def memory(folder: Path, seed: int) -> Counts:
    """A limit of the address space at one of 5 places."""
    from tests.faults.test_address_space import limited_run

    return dict(limited_run(folder, seed))


def hostile(_folder: Path, seed: int) -> Counts:
    """All hostile files of tests/security, one kind a seed, with what each costs at most."""
    from tests.security import refusal

    kind = ("pickles", "configs", "yaml", "paths", "images")[seed]
    refusal.COSTS.clear()
    tests = Path(__file__).parents[1] / "security" / f"test_{kind}.py"
    code = pytest.main(["-q", "-p", "no:cacheprovider", "-W", "ignore", str(tests)])
    return {
        "inputs": len(refusal.COSTS),
        "faults": int(code),
        "milliseconds_max": round(1000 * max(cost.seconds for cost in refusal.COSTS)),
        "mebibytes_max": round(max(cost.mebibytes for cost in refusal.COSTS)),
    }


def fuzz(_folder: Path, seed: int) -> Counts:
    """10,000 random cases of each target."""
    from tests.security.fuzz import NAMES, run

    for name in NAMES:
        run(name, 10_000, seed=seed)
    return {"cases": 10_000 * len(NAMES), "uncaught": 0}


def cost(folder: Path, seed: int) -> Counts:
    """What guards cost in a step and in a save, in thousandths."""
    from tests.faults.cost import of_a_save, of_a_step

    least, median = of_a_save(folder, seed)
    return {
        "step_permille_max": round(1000 * of_a_step(folder)),
        "save_permille_max": round(1000 * least),
        "save_median_permille_max": round(1000 * median),
    }


PROOFS: dict[str, tuple[Callable[[Path, int], Counts], int]] = {  # with the number of seeds
    "kills": (kills, 14), "signals": (signals, 10), "launcher": (launcher, 4),
    "damage": (damage, 10), "disk": (disk, 12), "not_finite": (not_finite, 4),
    "memory": (memory, 5), "hostile": (hostile, 5), "fuzz": (fuzz, 100), "cost": (cost, 3),
}  # fmt: skip


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name", choices=PROOFS)
    parser.add_argument("--seed", type=int, required=True, help="the piece")
    parser.add_argument("--out", type=Path, required=True, help="a .json file for the counts")
    options = parser.parse_args()
    proof, _seeds = PROOFS[options.name]
    with tempfile.TemporaryDirectory() as folder:
        counts = proof(Path(folder) / "work", options.seed)
        shutil.rmtree(Path(folder) / "work", ignore_errors=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({k: float(v) for k, v in counts.items()}) + "\n")
    sys.stdout.write(f"{options.name} {options.seed}: {counts}\n")


if __name__ == "__main__":
    main()
