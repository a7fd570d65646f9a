"""The compiled kernels are safe where numba's own threads are not: forks, threads, workers.

What may hang is given to a child process with a time limit, so that it fails instead.
"""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tests.ops.test_selective_scan import Case, drawn, judge, random_scan, stored_tensors, train
from vitrail.ops import threads
from vitrail.ops.selective_scan import Scan, selective_scan

SECONDS = 30  # far more than anything here takes
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

# PyTorch's own threads (OpenMP) hang in a forked child, in any operator that shares out its work.
# So tensors are of whole vectors, for which the kernels need nothing of PyTorch's, or small.
LONG = Case((2, 4, 600, 48, 16))
SMALL = Case((2, 3, 65, 32, 16))


class Work(NamedTuple):
    """What is computed again and again, and what it should give."""

    long: Scan
    small: dict[str, Tensor]
    expected: dict[str, np.ndarray]

    def differs(self) -> list[str]:
        """What has other bits than expected."""
        found = compute(self.long, self.small)
        return [n for n, e in self.expected.items() if not np.array_equal(found[n], e)]


def compute(long: Scan, small: dict[str, Tensor]) -> dict[str, np.ndarray]:
    with torch.no_grad():
        found = {"inference": selective_scan(long, LONG.reverse, "numba").numpy()}
    return {**found, **{name: t.numpy() for name, t in train(SMALL, "numba", small).items()}}


@pytest.fixture(scope="module")
def work() -> Work:
    """Computed by one thread and before any fork; this also compiles the kernels."""
    torch.set_num_threads(1)
    long, small = random_scan(LONG), stored_tensors(SMALL)
    expected = compute(long, small)
    exact = {"inference": selective_scan(long, LONG.reverse, "torch"), **judge(SMALL, small)}
    for name, t in exact.items():
        np.testing.assert_allclose(expected[name], t.numpy(), rtol=1e-3, atol=1e-3)
    return Work(long, small, expected)


@pytest.fixture(autouse=True)
def two_threads(work: Work) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def in_child(task: Callable[[], Any]) -> None:
    """Runs a task in a forked process. Fails if it raises, returns something, or takes too long."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forks beside threads are the point
        child = os.fork()
    if child == 0:
        _be_child(task, writer)
    os.close(writer)
    deadline, status = time.monotonic() + SECONDS, None
    while status is None and time.monotonic() < deadline:
        done, code = os.waitpid(child, os.WNOHANG)
        status = os.waitstatus_to_exitcode(code) if done else None
        time.sleep(0.005)
    if status is None:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    with os.fdopen(reader) as told:
        report = told.read() if status is not None else f"hung for {SECONDS} s"
    assert status == 0, f"the child ended with {status}: {report}"


def _be_child(task: Callable[[], Any], writer: int) -> NoReturn:
    code = 1
    try:
        os.setsid()  # so that its own children can be ended with it
        found = task()
        os.write(writer, repr(found).encode()[:2000])
        code = 0 if not found else 1
    except BaseException:
        os.write(writer, traceback.format_exc().encode()[-4000:])
    finally:
        os._exit(code)  # nothing of the parent's is cleaned up here


@drawn
@given(tasks=st.integers(0, 40), count=st.integers(1, 6))
def test_every_task_is_done_once(tasks: int, count: int) -> None:
    torch.set_num_threads(count)
    done = []
    threads.run_tasks(lambda start, stop, seen: seen.extend(range(start, stop)), tasks, done)
    assert sorted(done) == list(range(tasks))


def test_more_threads_than_the_pool_has() -> None:
    torch.set_num_threads(64)
    done = []
    threads.run_tasks(lambda start, stop: done.extend(range(start, stop)), 1000)
    assert sorted(done) == list(range(1000))


@forks
def test_a_pool_inside_a_pool() -> None:
    def nested() -> int:
        done = []

        def outer(start: int, stop: int) -> None:
            for _ in range(start, stop):
                threads.run_tasks(lambda a, b: done.extend(range(a, b)), 10)

        threads.run_tasks(outer, 16)
        return len(done) - 160

    in_child(nested)


@forks
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_forked_child_computes_after_its_parent_did(work: Work, count: int) -> None:
    torch.set_num_threads(count)
    assert not work.differs()  # the parent's pool has its threads now
    in_child(work.differs)
    assert not work.differs()


@forks
def test_a_forked_child_has_helpers_of_its_own() -> None:
    def alone() -> bool:
        names = set()

        def kernel(_start: int, _stop: int) -> None:
            names.add(threading.current_thread().name)
            time.sleep(0.05)

        threads.run_tasks(kernel, 8)
        return len(names) < 2

    assert not alone()
    in_child(alone)


@forks
def test_a_grandchild_computes_too(work: Work) -> None:
    def family() -> list[str]:
        found = work.differs()
        in_child(work.differs)
        return found + work.differs()

    in_child(family)


@forks
def test_a_child_forked_while_other_threads_compute(work: Work) -> None:
    stop, wrong = threading.Event(), []

    def compute() -> None:
        while not stop.is_set():
            wrong.extend(work.differs())

    computing = [threading.Thread(target=compute) for _ in range(2)]
    for thread in computing:
        thread.start()
    try:
        for _ in range(10):
            in_child(work.differs)
    finally:
        stop.set()
        for thread in computing:
            thread.join()
    assert not wrong


@forks
def test_a_child_forked_while_the_pool_is_being_made(work: Work) -> None:
    with threads._pool_lock:
        in_child(work.differs)


@forks
def test_four_threads_at_once(work: Work) -> None:
    def together() -> list[str]:
        with concurrent.futures.ThreadPoolExecutor(4) as threads:
            found = [threads.submit(work.differs) for _ in range(40)]
            return [name for f in found for name in f.result()]

    in_child(together)


class Scans(Dataset):
    """Its samples are computed by the kernels."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> int:
        if torch.utils.data.get_worker_info() is not None:
            torch.set_num_threads(1 + i % 2)  # workers start with one, which would prove little
        return len(self.work.differs())


@forks
def test_workers_of_a_data_loader(work: Work) -> None:
    def load() -> int:
        how = {"num_workers": 2, "multiprocessing_context": "fork", "timeout": SECONDS // 2}
        return sum(int(found.sum()) for found in DataLoader(Scans(work), 2, **how))

    assert not work.differs()
    in_child(load)


def _spawned(answer: Any) -> None:
    torch.set_num_threads(2)
    answer.put(compute(random_scan(LONG), stored_tensors(SMALL)))


def test_a_spawned_process(work: Work) -> None:
    context = multiprocessing.get_context("spawn")
    answer = context.Queue()
    child = context.Process(target=_spawned, args=(answer,))
    child.start()
    try:
        found = answer.get(timeout=SECONDS)
        assert all(np.array_equal(found[name], e) for name, e in work.expected.items())
        child.join(SECONDS)
        assert child.exitcode == 0
    finally:
        child.kill()


class Broken(Exception):
    """What a kernel raises here."""


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("bad", range(5))
def test_what_a_kernel_raises_reaches_the_caller(count: int, bad: int) -> None:
    torch.set_num_threads(count)

    def kernel(start: int, stop: int) -> None:
        time.sleep(0.001)  # lets the helpers take some of it
        if start <= bad < stop:
            raise Broken(bad)

    with pytest.raises(Broken, match=str(bad)):
        threads.run_tasks(kernel, 5)
    done = []
    threads.run_tasks(lambda start, stop: done.extend(range(start, stop)), 5)
    assert sorted(done) == list(range(5))


@pytest.mark.parametrize("who", ["the caller", "a helper"])
def test_nothing_runs_on_after_the_caller_has_its_exception(
    who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels hold addresses of the caller's tensors, which it lets go of when it raises."""
    helpers = concurrent.futures.ThreadPoolExecutor(2, "helper")
    monkeypatch.setattr(threads, "_pool", helpers)
    torch.set_num_threads(3)
    raises = threading.current_thread().name if who == "the caller" else "helper_0"
    running, begun = [], threading.Barrier(3, timeout=SECONDS)

    def kernel(start: int, _stop: int) -> None:
        if threading.current_thread().name == raises and start < 3:
            begun.wait()
            raise KeyboardInterrupt if who == "the caller" else Broken
        running.append(start)
        if start < 3:
            begun.wait()  # all three are at work
        time.sleep(0.2 if start < 3 else 0)
        running.remove(start)

    with pytest.raises((KeyboardInterrupt, Broken)):
        threads.run_tasks(kernel, 12)
    assert not running
    helpers.shutdown()


def test_a_process_that_used_the_pool_ends() -> None:
    """Its threads wait for work; they must not be waited for."""
    context = multiprocessing.get_context("fork" if hasattr(os, "fork") else "spawn")
    child = context.Process(target=threads.run_tasks, args=(_nothing, 8))
    child.start()
    child.join(SECONDS)
    code = child.exitcode
    child.kill()
    assert code == 0


def _nothing(_start: int, _stop: int) -> None:
    pass
