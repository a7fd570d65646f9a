"""The selective scan of Vim's mixer on a CPU: Vitrail's backends, the official loop, and C.

python -m benchmarks.selective_scan [--quick] [--threads N] [--json PATH]

What is timed is one layer's scan, with all that the official code has in it: two directions, the
softplus of biased steps, the skip D and the SiLU gate, float32, 16 states. The rivals:

- the official loop: the arithmetic of `selective_scan_ref` of state-spaces/mamba, in its layout,
  one call a direction and the backward one flipped, as the official Vim does;
- the same loop with `unbind` for indices: without it, autograd allocates a gradient as large as the
  whole tensor for each token, which is quadratic in their number;
- the algorithm of Vitrail's numba backend in C (selective_scan.c), compiled for this processor.

All get the same numbers, each in the layout it wants, and must agree before they are timed, in turn
and in one process. CPU time, of all threads together, is the one to trust on a busy machine.
"""

import argparse
import ctypes
import importlib.util
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import RESULTS, machine
from vitrail.ops.selective_scan import Scan, selective_scan

N, REVERSE = 16, [False, True]
SHAPES = ((8, 197, 384), (1, 197, 384), (1, 6085, 384))  # batch, tokens, channels
QUADRATIC = 1000  # tokens above which a quadratic gradient is out of the question
CHUNK = 64  # tokens between two saved states in C: what is best, and Vitrail's too
TOLERANCE = 1e-4  # of the largest value of a tensor
SPAN = 0.2  # seconds of calls in a row that make one measurement: the clock of CPU time lags by ms
PAUSE = 0.02  # seconds in which another rival's threads stop spinning for more work


class Rival(NamedTuple):
    """One way to compute the scan, and its own copies of the inputs."""

    output: Callable[[], Tensor]  # → (B, L, D)
    leaves: list[Tensor]
    fields: Callable[[Sequence[Tensor]], list[Tensor]]  # gradients of leaves → of Scan's fields
    quadratic: bool = False

    def infer(self) -> Tensor:
        """Only forward, keeping nothing."""
        with torch.inference_mode():
            return self.output()

    def train(self, grad: Tensor) -> tuple[Tensor, ...]:
        """Forward and backward, from the gradient of the output."""
        return torch.autograd.grad(self.output(), self.leaves, grad)


class Task(NamedTuple):
    """What all rivals are to do; forward only if there is no gradient of the output."""

    scan: Scan
    grad: Tensor | None

    def call(self, rival: Rival) -> Callable[[], Any]:
        """The call that is timed."""
        return rival.infer if self.grad is None else partial(rival.train, self.grad)

    def answer(self, rival: Rival) -> list[Tensor]:
        """What it computes: the output, or gradients in the order of Scan's fields."""
        return [rival.infer()] if self.grad is None else rival.fields(rival.train(self.grad))


def inputs(batch: int, length: int, dim: int) -> Scan:
    """Numbers distributed like those of a Vim."""
    torch.manual_seed(0)
    tokens, k = (len(REVERSE), batch, length), len(REVERSE)
    rates = torch.arange(1.0, N + 1) * torch.exp(0.1 * torch.randn(k, dim, N))
    step = torch.exp(torch.empty(k, dim).uniform_(math.log(1e-3), math.log(1e-1)))
    return Scan(
        u=F.silu(torch.randn(*tokens, dim)),
        delta=0.7 * torch.randn(*tokens, dim),
        A=-rates,
        B=0.5 * torch.randn(*tokens, N),
        C=0.5 * torch.randn(*tokens, N),
        D=1 + 0.1 * torch.randn(k, dim),
        bias=step + torch.log(-torch.expm1(-step)),  # softplus gives step back
        z=torch.randn(batch, length, dim),
    )


def own(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Contiguous copies that want gradients."""
    return [
        t.detach().clone(memory_format=torch.contiguous_format).requires_grad_() for t in tensors
    ]


def vitrail(scan: Scan, backend: str) -> Rival:
    """Ours."""
    leaves = own(scan)
    return Rival(lambda: selective_scan(Scan(*leaves), REVERSE, backend), leaves, list)


# ------------------------------------------------------------------------- the official loop


def loop(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, bias: Tensor, z: Tensor,
    unbind: bool,
) -> Tensor:  # fmt: skip
    """u, delta, z (B, D, L), A (D, N), B, C (B, N, L), D, bias (D,) → (B, D, L), one direction."""
    delta = F.softplus(delta + bias[:, None])
    decay = torch.exp(torch.einsum("bdl,dn->bdln", delta, A))
    enter = torch.einsum("bdl,bnl,bdl->bdln", delta, B, u)
    state = A.new_zeros(u.shape[0], *A.shape)
    if unbind:
        tokens = zip(decay.unbind(2), enter.unbind(2), C.unbind(2), strict=True)
    else:
        tokens = ((decay[:, :, i], enter[:, :, i], C[:, :, i]) for i in range(u.shape[2]))
    outputs = []
    for decay_i, enter_i, read_i in tokens:
        state = decay_i * state + enter_i
        outputs.append(torch.einsum("bdn,bn->bd", state, read_i))
    y = torch.stack(outputs, dim=2) + u * D[:, None]
    return y * F.silu(z)


def transposed(direction: dict[str, Tensor]) -> dict[str, Tensor]:
    """From our layout to theirs, or back."""
    tokens = ("u", "delta", "B", "C")
    return {name: t.transpose(1, 2) if name in tokens else t for name, t in direction.items()}


def turned(direction: dict[str, Tensor]) -> dict[str, Tensor]:
    """A backward direction as Vim has it before its scan, in our layout.

    Vim flips what signal and gate are computed from, and so gets the rest in the turned order
    without a flip. Here signal and gate are flipped on the clock, and the rest is ready.
    """
    ready = ("delta", "B", "C")
    return {name: t.flip(1) if name in ready else t for name, t in direction.items()}


def official(scan: Scan, unbind: bool) -> Rival:
    """The loop over both directions."""
    names = Scan._fields[:-1]
    first, second = ({name: getattr(scan, name)[k] for name in names} for k in range(2))
    tensors = *transposed(first).values(), *transposed(turned(second)).values()
    leaves = own([*tensors, scan.z.transpose(1, 2)])
    ahead, back, z = leaves[:7], leaves[7:14], leaves[14]

    def output() -> Tensor:
        y = loop(*ahead, z, unbind=unbind)
        turned_y = loop(back[0].flip(2), *back[1:], z.flip(2), unbind=unbind)
        return (y + turned_y.flip(2)).transpose(1, 2)

    def fields(grads: Sequence[Tensor]) -> list[Tensor]:
        one = transposed(dict(zip(names, grads[:7], strict=True)))
        two = turned(transposed(dict(zip(names, grads[7:14], strict=True))))
        return [*(torch.stack([one[n], two[n]]) for n in names), grads[14].transpose(1, 2)]

    return Rival(output, leaves, fields, quadratic=not unbind)


# ------------------------------------------------------------------------------------- C


class _Scan(ctypes.Structure):
    """`Scan` of selective_scan.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in Scan._fields),
        ("reverse", ctypes.c_int64 * len(REVERSE)),
        *((name, ctypes.c_int64) for name in ("batch", "length", "dim", "chunk", "threads")),
    ]


class _Gradients(ctypes.Structure):
    """`Gradients` of selective_scan.c."""

    _fields_ = [(name, ctypes.c_void_p) for name in Scan._fields]


def compiled() -> ctypes.CDLL | str:
    """The library, or why there is none."""
    compiler = shutil.which("gcc")
    if compiler is None:
        return "no gcc here"
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "selective_scan.so")
        options = ["-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-o", str(library)]
        source = Path(__file__).with_suffix(".c")
        built = subprocess.run(
            [compiler, *options, str(source)], capture_output=True, text=True, check=False
        )
        if built.returncode:
            return f"gcc failed with status {built.returncode}:\n{built.stderr}"
        code = ctypes.CDLL(str(library))
    code.scan_forward.argtypes = [ctypes.POINTER(_Scan)] + 3 * [ctypes.c_void_p]
    code.scan_backward.argtypes = [
        ctypes.POINTER(_Scan), *3 * [ctypes.c_void_p], ctypes.POINTER(_Gradients),
    ]  # fmt: skip
    code.lanes.restype = ctypes.c_int64
    return code


def in_c(scan: Scan, code: ctypes.CDLL) -> Rival:
    """The library as an autograd function: as thin as one can be."""
    k, batch, length, dim, _ = scan.sizes
    assert dim % code.lanes() == 0, f"{dim} channels are no multiple of {code.lanes()} lanes"
    leaves = own(scan)
    blocks, chunks = dim // code.lanes(), -(-length // CHUNK)
    # Blocks of one task share rows of partial sums; there are 32 tasks at least, where possible.
    blocks = -(-blocks // min(blocks, (batch * blocks + 31) // 32))
    reverse = (ctypes.c_int64 * k)(*REVERSE)
    pointers = [t.data_ptr() for t in leaves]
    call = _Scan(*pointers, reverse, batch, length, dim, CHUNK, torch.get_num_threads())

    def forward(save: bool) -> tuple[Tensor, ...]:
        out = torch.empty(batch, length, dim)
        if not save:
            code.scan_forward(call, out.data_ptr(), None, None)
            return (out,)
        total, saved = torch.empty_like(out), torch.empty(k * batch * chunks * N * dim)
        code.scan_forward(call, out.data_ptr(), total.data_ptr(), saved.data_ptr())
        return out, total, saved

    class Differentiable(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *_: Tensor) -> Tensor:
            out, *saved = forward(save=True)
            ctx.save_for_backward(*saved)
            return out

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
            shapes = {
                "u": scan.u.shape,
                "delta": scan.u.shape,
                "A": (k, batch, dim, N),
                "B": (k, batch, blocks, length, N),
                "C": (k, batch, blocks, length, N),
                "D": (k, batch, dim),
                "bias": (k, batch, dim),
                "z": scan.z.shape,
            }
            grads = {name: torch.empty(shape) for name, shape in shapes.items()}
            total, saved = (t.data_ptr() for t in ctx.saved_tensors)
            addresses = _Gradients(**{name: t.data_ptr() for name, t in grads.items()})
            code.scan_backward(call, grad.contiguous().data_ptr(), total, saved, addresses)
            parts = {"A": 1, "B": 2, "C": 2, "D": 1, "bias": 1}
            return tuple(t.sum(parts[n]) if n in parts else t for n, t in grads.items())

    def output() -> Tensor:
        return Differentiable.apply(*leaves) if torch.is_grad_enabled() else forward(save=False)[0]

    return Rival(output, leaves, list)


# ---------------------------------------------------------------------------------- timing


def backends() -> list[str]:
    """Ours that can run here."""
    names = ("numba", "vitrail.ops.selective_scan._numba")
    return ["torch", *["numba"] * all(importlib.util.find_spec(name) for name in names)]


def rivals(task: Task, code: ctypes.CDLL | str, quick: bool) -> dict[str, Rival]:
    """All that take part in a task. The first is the one that the others are held to."""
    scan, train = task.scan, task.grad is not None
    by_name = {}
    if train:
        by_name["loop with unbind"] = official(scan, unbind=True)
    if not train or not (quick or scan.u.shape[2] > QUADRATIC):
        by_name["official loop"] = official(scan, unbind=False)
    if not isinstance(code, str):
        by_name["C"] = in_c(scan, code)
    for backend in backends():
        by_name[f"vitrail, {backend}"] = vitrail(scan, backend)
    return by_name


def check(task: Task, by_name: dict[str, Rival]) -> float:
    """That all compute the same: the largest difference of a tensor, relative to its largest."""
    worst, expected = 0.0, None
    for name, rival in by_name.items():
        answer = task.answer(rival)
        if expected is None:
            expected = answer
        for a, e in zip(answer, expected, strict=True):
            assert a.shape == e.shape, f"{name}: {tuple(a.shape)}, not {tuple(e.shape)}"
            error = ((a - e).abs().max() / e.abs().max()).item()
            assert error <= TOLERANCE, f"{name} is {error:.1e} from {next(iter(by_name))}"
            worst = max(worst, error)
    return worst


def clock(call: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Seconds of CPU and of wall time that one call takes."""
    time.sleep(PAUSE)
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(repeats):
        call()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu / repeats, wall / repeats


def measure(task: Task, by_name: dict[str, Rival], rounds: int) -> dict[str, dict[str, Any]]:
    """The least of the rounds, each rival in turn; the quadratic one has its turn only once.

    A measurement is many calls if they are short, as layers follow each other in a network: threads
    are awake and memory is at hand.
    """
    quadratic = {
        name for name, rival in by_name.items() if rival.quadratic and task.grad is not None
    }
    calls = {name: task.call(rival) for name, rival in by_name.items()}
    repeats = dict.fromkeys(calls, 1)
    for name in calls.keys() - quadratic:
        repeats[name] = max(1, math.ceil(SPAN / clock(calls[name], 1)[1]))
    seconds_by_name: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for i in range(rounds):
        for name, call in calls.items():
            if i == 0 or name not in quadratic:
                seconds_by_name[name].append(clock(call, repeats[name]))
    table: dict[str, dict[str, Any]] = {}
    for name, rows in seconds_by_name.items():
        cpu, wall = map(min, zip(*rows, strict=True))
        table[name] = {"cpu": cpu, "wall": wall, "rounds": len(rows)}
    ours = [name for name in table if name.startswith("vitrail")]
    for row in table.values():
        row["over"] = {o: {k: row[k] / table[o][k] for k in ("cpu", "wall")} for o in ours}
    return table


def show(title: str, table: dict[str, dict[str, Any]], error: float) -> None:
    """One rival a line: its time, and how many times ours it is."""
    ours = [name for name in table if name.startswith("vitrail")]
    over = "".join(f"{'/ ' + name.removeprefix('vitrail, '):>9}" for name in ours)
    print(f"{title} (they agree to {error:.0e})")
    print(f"  {'':<18}{'CPU':>11}{over}{'wall':>14}{over}")
    for name, row in table.items():
        line = f"  {name:<18}"
        for kind, width in (("cpu", 8), ("wall", 11)):
            line += f"{1000 * row[kind]:{width}.{2 if row[kind] < 0.01 else 1}f} ms"
            line += "".join(f"{row['over'][o][kind]:8.2f}x" for o in ours)
        print(line + ("  (one call)" if row["rounds"] == 1 else ""))


def first_use() -> None:
    """Prints seconds until numba, new to this process, has computed its first results."""
    rival = vitrail(inputs(1, 197, 384), "torch")
    grad = torch.ones(1, 197, 384)
    rival.infer(), rival.train(grad)  # all that is not numba's
    rival = vitrail(inputs(1, 197, 384), "numba")
    seconds = {}
    begin = time.perf_counter()
    importlib.import_module("vitrail.ops.selective_scan._numba")
    seconds["import"] = time.perf_counter() - begin
    for name, call in (("forward", rival.infer), ("training", lambda: rival.train(grad))):
        begin = time.perf_counter()
        call()
        first = time.perf_counter() - begin
        begin = time.perf_counter()
        call()
        seconds[name] = first - (time.perf_counter() - begin)
    print(json.dumps(seconds | {"total": sum(seconds.values())}))


def compile_time() -> dict[str, dict[str, float]]:
    """Seconds that numba takes for its first results: compiling, and from its cache on disk."""
    statement = "from benchmarks import selective_scan as scan; scan.first_use()"
    command = [sys.executable, "-c", statement]
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
        for name in ("compiled", "from disk"):
            process = subprocess.run(
                command, cwd=Path(__file__).parents[1], env=environment, text=True, check=True,
                stdout=subprocess.PIPE,
            )  # fmt: skip
            results[name] = json.loads(process.stdout.splitlines()[-1])
            parts = ", ".join(f"{part} {s:.2f} s" for part, s in results[name].items())
            print(f"numba's first use, {name}: {parts}")
    return results


def main() -> None:
    """Runs everything, prints it and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds, no quadratic gradient")
    parser.add_argument("--threads", type=int, default=2, help="of every rival (default: 2)")
    parser.add_argument(
        "--json", type=Path,
        help="where results go (default: benchmarks/results/selective_scan.json; nowhere if quick)",
    )  # fmt: skip
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    results: dict[str, Any] = {"machine": machine()}
    code = compiled()
    if isinstance(code, str):
        print(f"C is left out: {code}")
    else:
        results["lanes of C"] = code.lanes()
    for batch, length, dim in SHAPES:
        scan = inputs(batch, length, dim)
        for title, grad in (("forward", None), ("forward and backward", torch.randn_like(scan.z))):
            title = f"{title}, B {batch}, L {length}, D {dim}, N {N}"
            task = Task(scan, grad)
            by_name = rivals(task, code, args.quick)
            error = check(task, by_name)
            table = measure(task, by_name, rounds=3 if args.quick else 12)
            show(title, table, error)
            results[title] = {"agreement": error, "seconds": table}
    if "numba" in backends():
        results["numba's first use, seconds"] = compile_time()
    else:
        print("numba is left out: it, or its backend, is not there")
    path = args.json or (None if args.quick else RESULTS / "selective_scan.json")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(results, indent=1) + "\n")
        print(f"written: {path.name}")


if __name__ == "__main__":
    main()
