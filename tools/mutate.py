"""Changes one line at a time and says which changes the tests do not notice.

    python -m tools.mutate                      # all of tools/mutations.toml
    python -m tools.mutate --only M3,M7         # these
    python -m tools.mutate --narrow --jobs 2    # only each mutation's own tests, two at a time

Each mutation is made in a temporary copy of the repository. Its own tests run first, until one of
them fails; only where all pass, the whole of `make test` follows. A mutation that survives says
that a test is missing.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

import tomllib

from tools.source import ROOT

LIST = ROOT / "tools" / "mutations.toml"
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "runs", "dist", "build", "site", "__pycache__", ".*_cache", ".hypothesis"
)
PASSED, FAILED = 0, 1  # pytest's exit codes; others are errors of usage or of collection


@dataclass(frozen=True)
class Mutation:
    """One change.

    Args:
        id: name, such as "M3".
        file: path in the repository.
        old: text that is in the file exactly once.
        new: text to put in its place.
        tests: pytest's arguments that select the tests most likely to notice, run first.
        about: what the change means, in a few words.
    """

    id: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    about: str

    def apply(self, root: Path) -> str:
        """Changes the file → its former text.

        Raises:
            ValueError: `old` is not in the file exactly once.
        """
        path = root / self.file
        text = path.read_text("utf-8") if path.is_file() else ""
        if text.count(self.old) != 1:
            raise ValueError(
                f"{self.id}: {self.file} has {text.count(self.old)} times {self.old!r}, not once."
            )
        path.write_text(text.replace(self.old, self.new), "utf-8")
        return text


@dataclass(frozen=True)
class Outcome:
    """The verdict of the tests on a mutation.

    Args:
        mutation: the change.
        verdict: "killed", "survived", "survived its own tests" or "undecided".
        by: the first test that failed, or the reason for "undecided".
        seconds: how long it took.
    """

    mutation: Mutation
    verdict: str
    by: str
    seconds: float

    def __str__(self) -> str:
        by = f" by {self.by}" if self.by else ""
        return (
            f"{self.mutation.id:<5} {self.verdict}{by} ({self.seconds:.0f} s): "
            f"{self.mutation.about}"
        )


def read_mutations(path: Path = LIST) -> list[Mutation]:
    """The list, in its order."""
    entries = tomllib.loads(path.read_text("utf-8"))
    return [
        Mutation(id=name, **{**entry, "tests": tuple(entry["tests"])})
        for name, entry in entries.items()
    ]


def copy_tree(target: Path, root: Path = ROOT) -> Path:
    """Copies what tests read, without environments and caches."""
    return Path(shutil.copytree(root, target, ignore=LEFT_OUT))


def run_tests(root: Path, arguments: list[str], limit: float) -> tuple[int, str]:
    """pytest in a copy, until the first failure → exit code (-1: past the limit), failed test."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments]
    paths = os.pathsep.join([str(root / "src"), str(root)])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        answer = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return -1, ""
    lines = answer.stdout.splitlines()
    failures = [line.split(" ")[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    return answer.returncode, failures[0] if failures else "".join(lines[-1:])


def decide_mutation(
    mutation: Mutation, root: Path, whole: list[str] | None, limit: float
) -> Outcome:
    """Makes the change in a copy, runs the tests, and undoes it.

    Args:
        mutation: the change.
        root: the copy.
        whole: pytest's arguments for the whole suite, run where the narrow tests pass; None: they
            do not run.
        limit: seconds for either run.

    Returns:
        The verdict.
    """
    start = time.monotonic()
    former = mutation.apply(root)
    try:
        verdict, by = "survived", ""
        for arguments in filter(None, (list(mutation.tests), whole)):
            code, test = run_tests(root, arguments, limit)
            if code == FAILED:
                verdict, by = "killed", test
                break
            if code != PASSED:
                verdict = "undecided"
                by = "the time limit" if code == -1 else test
                break
        if verdict == "survived" and whole is None:
            verdict = "survived its own tests"
    finally:
        (root / mutation.file).write_text(former, "utf-8")
    return Outcome(mutation, verdict, by, time.monotonic() - start)


def run(mutations: list[Mutation], whole: bool, jobs: int, limit: float) -> list[Outcome]:
    """All mutations, each printed when it is decided."""
    arguments = ["-n", str(max(1, 2 // jobs)), "--dist", "worksteal"] if whole else None
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        copies: Queue[Path] = Queue()
        for number in range(jobs):
            copies.put(copy_tree(Path(folder) / str(number)))

        def decide(mutation: Mutation) -> Outcome:
            root = copies.get()
            try:
                outcome = decide_mutation(mutation, root, arguments, limit)
            except ValueError as error:
                outcome = Outcome(mutation, "undecided", str(error), 0)
            finally:
                copies.put(root)
            print(outcome, flush=True)
            return outcome

        return list(pool.map(decide, mutations))


def check_tests(mutations: list[Mutation], limit: float) -> str:
    """The first of the mutations' own tests that fails without any mutation; "" if none does."""
    with tempfile.TemporaryDirectory() as folder:
        root = copy_tree(Path(folder) / "tree")
        for arguments in dict.fromkeys(m.tests for m in mutations):
            code, test = run_tests(root, list(arguments), limit)
            if code != PASSED:
                return f"{' '.join(arguments)}: {test or 'the time limit'}"
    return ""


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="ids, separated by commas")
    parser.add_argument("--narrow", action="store_true", help="not the whole suite")
    parser.add_argument("--jobs", type=int, default=1, help="mutations at a time")
    parser.add_argument("--limit", type=float, default=1200, help="seconds for a run of tests")
    parser.add_argument("--list", action="store_true", help="show the mutations and run nothing")
    parser.add_argument("--unchecked", action="store_true", help="skip the run without mutations")
    options = parser.parse_args()
    mutations = read_mutations()
    names = options.only.split(",") if options.only else [m.id for m in mutations]
    if unknown := set(names) - {m.id for m in mutations}:
        parser.error(f"no mutation {', '.join(sorted(unknown))}: --list shows them.")
    mutations = [m for m in mutations if m.id in names]
    if options.list:
        print("\n".join(f"{m.id:<5} {m.file}: {m.about}" for m in mutations))
        return
    if not options.unchecked and (failure := check_tests(mutations, options.limit)):
        raise SystemExit(f"a test fails without any mutation: {failure}")
    outcomes = run(mutations, not options.narrow, options.jobs, options.limit)
    undecided = [o for o in outcomes if o.verdict != "killed"]
    print(f"{len(outcomes) - len(undecided)} of {len(outcomes)} killed")
    print("\n".join(map(str, undecided)), end="\n" if undecided else "")
    raise SystemExit(1 if undecided else 0)


if __name__ == "__main__":
    main()
