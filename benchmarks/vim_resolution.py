"""Vision Mamba against DeiT, both tiny, over image sizes: images a second and memory.

python -m benchmarks.vim_resolution [--quick] [--sizes 224,1248] [--threads N] [--json PATH]

Vim's paper (https://arxiv.org/abs/2401.09417) promises 2.8 times the speed of DeiT and 86.8 % less
memory at 1248 pixels on a GPU, where it grows with the number of tokens and DeiT with its square.
Here both run on a CPU. The rivals of Vim-Ti (by numba, and by plain PyTorch):

- DeiT-Ti, ours, and timm's, whose attention is a fused kernel, which never holds all its weights;
- timm's once more with attention written out, N² weights in memory: how DeiT was when Vim appeared.

Inference, in turn and in one process, after which ours run again with products in bfloat16, on both
sides. Time is the least of several rounds; CPU time, of all threads together, is the one to trust
on a busy machine. Memory is what one forward adds at most to a process of its own, in which a small
image went ahead: libraries, weights and compiled kernels are not counted.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import math
import resource
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import timm
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

import vitrail
from benchmarks.common import RESULTS, machine
from benchmarks.selective_scan import SPAN, clock
from vitrail.deploy.precision import halve
from vitrail.lens.theme import LIGHT
from vitrail.ops.selective_scan import resolve

SIZES = (224, 384, 448, 512, 640, 768, 1024, 1248)
QUICK_SIZES = (224, 640)
SHAPES_BESIDE = ((8, 224),)  # batch, size: measured too
SMALL = 64  # pixels of the image that goes ahead
PAPER = {"size": 1248, "speed": 2.8, "memory saved": 0.868, "device": "A100"}
TOLERANCE = 1e-4  # between backends, of the largest logit; bfloat16 has its own rounding

VIM, VIM_TORCH, DEIT, TIMM, WRITTEN_OUT = (
    "Vim-Ti, numba", "Vim-Ti, torch", "DeiT-Ti", "DeiT-Ti, timm", "DeiT-Ti, timm, N² weights",
)  # fmt: skip
HALVED = ", bf16"


def vim(backend: str) -> nn.Module:
    """Ours, with the kernels of a backend; always the same weights."""
    torch.manual_seed(0)
    model = vitrail.create_model("vim_tiny")
    for block in model.blocks:
        block.mixer.backend = backend
    return model


def timms(fused: bool) -> nn.Module:
    """timm's DeiT, which takes images of any size if its constructor is asked to."""
    model = timm.create_model("deit_tiny_patch16_224", dynamic_img_size=True)
    for block in model.blocks:
        block.attn.fused_attn = fused
    return model


BUILD: dict[str, Callable[[], nn.Module]] = {
    VIM: lambda: vim("numba"),
    VIM_TORCH: lambda: vim("torch"),
    DEIT: lambda: vitrail.create_model("deit_tiny_patch16_224"),
    TIMM: lambda: timms(fused=True),
    WRITTEN_OUT: lambda: timms(fused=False),
}


def build(name: str) -> nn.Module:
    """A rival by its name, ready for inference."""
    model = BUILD[name.removesuffix(HALVED)]().eval()
    return halve(model) if name.endswith(HALVED) else model


def names() -> dict[str, list[str]]:
    """The rivals of each precision. Vim comes first, by the quickest backend that is here."""
    ours = [VIM, VIM_TORCH, DEIT]
    if resolve("auto", torch.empty(0)) != "numba":
        print("numba is left out: it is not installed")
        ours.remove(VIM)
    return {"fp32": [*ours, TIMM, WRITTEN_OUT], "bf16": [name + HALVED for name in ours]}


# ------------------------------------------------------------------------------------- memory


def resident() -> int:
    """Bytes of this process in memory, at most since `forget_peak`.

    Linux counts that for each program. What getrusage tells begins with the memory of whoever
    started this process, and stands in only where there is no such count.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(s for s in status.read_text().splitlines() if s.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def forget_peak() -> None:
    """Counts the peak from now on; where that is not allowed, it is counted from the start."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        print("the peak before cannot be forgotten here: memory may be too low", file=sys.stderr)


def added(name: str, batch: int, size: int) -> None:
    """Prints the bytes that one forward of a rival adds, in a process that does nothing else."""
    model, images = build(name), torch.randn(batch, 3, size, size)
    with torch.inference_mode():
        model(torch.randn(1, 3, SMALL, SMALL))
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):  # only glibc has it
            # What building left free is handed back, or the forward would use it uncounted.
            ctypes.CDLL(None).malloc_trim(0)
        forget_peak()
        before = resident()
        model(images)
    print(resident() - before)


def memory(name: str, batch: int, size: int) -> int:
    """As `added`, from a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.vim_resolution",
        "--threads",
        str(torch.get_num_threads()),
    ]
    process = subprocess.run(
        [*command, "--added", name, str(batch), str(size)],
        text=True, check=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    return int(process.stdout.splitlines()[-1])


# --------------------------------------------------------------------------------------- time


def check(models: dict[str, nn.Module], images: torch.Tensor) -> None:
    """That outputs are finite, and that Vim's backends agree."""
    outputs = {name: model(images) for name, model in models.items()}
    for name, out in outputs.items():
        assert out.isfinite().all(), f"{name} is not finite at {tuple(images.shape)}"
    if {VIM, VIM_TORCH} <= outputs.keys():
        ours, peer = outputs[VIM], outputs[VIM_TORCH]
        error = ((ours - peer).abs().max() / peer.abs().max()).item()
        assert error <= TOLERANCE, f"Vim's backends are {error:.1e} apart"


def measure(
    models: dict[str, nn.Module], batch: int, size: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Seconds of a forward, of CPU and of wall: the least of the rounds, each rival in turn."""
    images = torch.randn(batch, 3, size, size)
    with torch.inference_mode():
        check(models, images)
        calls = {name: (lambda m=m: m(images)) for name, m in models.items()}
        # The clock of CPU time lags by milliseconds: short forwards are timed several at once.
        repeats = {n: max(1, math.ceil(SPAN / clock(call, 1)[1])) for n, call in calls.items()}
        seconds_by_name: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, call in calls.items():
                seconds_by_name[name].append(clock(call, repeats[name]))
    table = {}
    for name, rows in seconds_by_name.items():
        cpu, wall = map(min, zip(*rows, strict=True))
        table[name] = {"wall": wall, "cpu": cpu, "images a second": batch / wall}
    return table


def run(shapes: Iterable[tuple[int, int]], rounds: int) -> dict[str, Any]:
    """All rivals at all shapes (batch, size): {"1 x 224": {name: row}}, printed as they come."""
    groups, figures = names(), {}
    built = {precision: {n: build(n) for n in group} for precision, group in groups.items()}
    for batch, size in shapes:
        table: dict[str, dict[str, float]] = {}
        for models in built.values():
            table |= measure(models, batch, size, rounds)
        for name, row in table.items():
            row["memory"] = memory(name, batch, size)
        show(f"{size} pixels, {size // 16 * (size // 16) + 1} tokens, batch {batch}", table)
        figures[f"{batch} x {size}"] = table
    return figures


# -------------------------------------------------------------------------------------- ratios


def pairs() -> dict[str, tuple[str, str]]:
    """What is compared: a title, and the names of a Vim and of a DeiT in the same precision."""
    groups = names()
    best = groups["fp32"][0]
    figures = {f"{best} / {deit}": (best, deit) for deit in (DEIT, TIMM, WRITTEN_OUT)}
    if best != VIM_TORCH:
        figures[f"{VIM_TORCH} / {DEIT}"] = (VIM_TORCH, DEIT)
    halved = groups["bf16"][0]
    return figures | {f"{best} / {DEIT}, both bf16": (halved, DEIT + HALVED)}


def ratio(table: dict[str, dict[str, float]], pair: tuple[str, str], kind: str) -> float:
    """How many times Vim's speed is DeiT's ("wall", "cpu"); how much of its "memory" Vim saves."""
    ours, theirs = (table[name][kind] for name in pair)
    return 1 - ours / theirs if kind == "memory" else theirs / ours


def crossover(sizes: list[int], ratios: list[float]) -> float | None:
    """From how many pixels on Vim is the quicker; None if it never is.

    Between two sizes the logarithm of the ratio is taken to be straight over that of the size.
    """
    slower = [i for i, r in enumerate(ratios) if r < 1]
    if not slower:
        return float(sizes[0])
    if (i := slower[-1]) == len(sizes) - 1:
        return None
    (x0, x1), (y0, y1) = (
        map(math.log, sizes[i : i + 2]), map(math.log, ratios[i : i + 2]),
    )  # fmt: skip
    return math.exp(x0 - y0 * (x1 - x0) / (y1 - y0))


def summarise(figures: dict[str, Any]) -> dict[str, Any]:
    """Ratios of every pair at every size, where they cross 1, and what they are at the largest."""
    single = {int(k.split(" x ")[1]): t for k, t in figures.items() if k.startswith("1 x ")}
    sizes, results = sorted(single), {}
    for title, pair in pairs().items():
        lines = {
            kind: [ratio(single[s], pair, kind) for s in sizes]
            for kind in ("wall", "cpu", "memory")
        }
        results[title] = {
            "sizes": sizes,
            "speed": {kind: lines[kind] for kind in ("wall", "cpu")},
            "memory saved": lines["memory"],
            "crossover": {kind: crossover(sizes, lines[kind]) for kind in ("wall", "cpu")},
        }
    return results


# --------------------------------------------------------------------------- tables and the plot


def show(title: str, table: dict[str, dict[str, float]]) -> None:
    """One rival a line."""
    print(f"{title}\n  {'':<28}{'wall':>11}{'CPU':>13}{'images/s':>10}{'memory':>12}")
    for name, row in table.items():
        print(
            f"  {name:<28}{1000 * row['wall']:8.1f} ms{1000 * row['cpu']:10.1f} ms"
            f"{row['images a second']:10.2f}{row['memory'] / 2**20:8.0f} MiB"
        )


def show_ratios(results: dict[str, Any]) -> None:
    """One pair a block: speed and memory over sizes, the crossover, the largest size."""
    for title, row in results.items():
        print(f"{title}: above 1, Vim is the quicker")
        rows = {
            "pixels": [f"{s}" for s in row["sizes"]],
            "speed, wall": [f"{r:.2f}x" for r in row["speed"]["wall"]],
            "speed, CPU": [f"{r:.2f}x" for r in row["speed"]["cpu"]],
            "memory saved": [f"{100 * s:.0f} %" for s in row["memory saved"]],
        }
        for name, cells in rows.items():
            print(f"  {name:<14}" + "".join(f"{cell:>8}" for cell in cells))
        at = {k: "never" if v is None else f"{v:.0f}" for k, v in row["crossover"].items()}
        largest = {k: f"{v[-1]:.2f}x" for k, v in row["speed"].items()}
        print(
            f"  quicker from {at['wall']} pixels on (CPU time: {at['cpu']}); at "
            f"{row['sizes'][-1]}: {largest['wall']} (CPU time: {largest['cpu']})"
        )
    print(
        f"Vim's paper, {PAPER['size']} pixels, {PAPER['device']}: {PAPER['speed']}x, "
        f"{100 * PAPER['memory saved']:.1f} % less memory"
    )


COLOURS = ("glass", "moss", "amber", "lead", "ruby")
MARKS = "osD^v"


def panel(axes: Axes, title: str, label: str, sizes: list[int]) -> None:
    """What all panels share."""
    axes.set_title(title, loc="left", color=LIGHT["ink"])
    axes.set_xlabel("image side, pixels (batch 1)")
    axes.set_ylabel(label)
    # Where all would not fit, the first of two neighbours gives way.
    ticks = [s for s, after in zip(sizes, [*sizes[1:], 10**9], strict=True) if after - s > 90]
    axes.set_xticks(ticks, [str(s) for s in ticks])
    axes.grid(color=LIGHT["line"])
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=LIGHT["quiet"])


def draw(figures: dict[str, Any], results: dict[str, Any], path: Path) -> None:
    """Speed ratio, memory saved and memory over image sizes, with the paper's figures."""
    sizes = next(iter(results.values()))["sizes"]
    figure = Figure(figsize=(16, 5.6), layout="constrained", facecolor=LIGHT["paper"])
    speed, saved, memory_of = figure.subplots(1, 3)
    panel(speed, "How many times as fast as DeiT-Ti is Vim-Ti?", "speed ratio", sizes)
    panel(saved, "How much of DeiT-Ti's memory does Vim-Ti save?", "memory saved, %", sizes)
    panel(memory_of, "What a forward adds to memory", "memory, MiB", sizes)
    for i, (title, row) in enumerate(results.items()):
        style = {"color": LIGHT[COLOURS[i]], "marker": MARKS[i], "label": title}
        speed.plot(sizes, row["speed"]["wall"], **style)
        saved.plot(sizes, [100 * s for s in row["memory saved"]], **style)
    star = {"color": LIGHT["ink"], "marker": "*", "markersize": 15, "linestyle": "none"}
    star["label"] = f"Vim's paper ({PAPER['device']})"
    speed.plot(PAPER["size"], PAPER["speed"], **star)
    saved.plot(PAPER["size"], 100 * PAPER["memory saved"], **star)
    speed.axhline(1, color=LIGHT["quiet"], linewidth=1)
    saved.axhline(0, color=LIGHT["quiet"], linewidth=1)
    saved.set_ylim(max(-100, saved.get_ylim()[0]), 100)  # twice DeiT's memory: no worse is drawn
    fp32 = [n for n in figures[f"1 x {sizes[0]}"] if not n.endswith(HALVED)]
    for i, name in enumerate(fp32):
        used = [figures[f"1 x {s}"][name]["memory"] / 2**20 for s in sizes]
        memory_of.plot(sizes, used, color=LIGHT[COLOURS[i]], marker=MARKS[i], label=name)
    memory_of.set_yscale("log")
    for axes in (speed, saved, memory_of):
        axes.legend(loc="best", fontsize="small", framealpha=0.9)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Runs everything, prints it and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two sizes, few rounds")
    parser.add_argument("--sizes", help="image sides, joined by commas (default: from 224 to 1248)")
    parser.add_argument("--threads", type=int, default=2, help="of every rival (default: 2)")
    parser.add_argument(
        "--json", type=Path,
        help="where results go, and a plot beside them (default: benchmarks/results/"
        "vim_resolution.json; nowhere if --quick or --sizes)",
    )  # fmt: skip
    parser.add_argument("--added", nargs=3, help=argparse.SUPPRESS)  # for processes of `memory`
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.added:
        name, batch, size = args.added
        added(name, int(batch), int(size))
        return
    sizes: Iterable[int] = QUICK_SIZES if args.quick else SIZES
    if args.sizes:
        sizes = sorted({int(s) for s in args.sizes.split(",")})
    shapes = [(1, s) for s in sizes] + ([] if args.sizes else list(SHAPES_BESIDE))
    figures = run(shapes, rounds=2 if args.quick else 10)
    results = summarise(figures)
    show_ratios(results)
    path = args.json or (None if args.quick or args.sizes else RESULTS / "vim_resolution.json")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        everything = {"machine": machine(), "paper": PAPER, "rivals": figures, "ratios": results}
        path.write_text(json.dumps(everything, indent=1, ensure_ascii=False) + "\n", "utf-8")
        draw(figures, results, path.with_suffix(".png"))
        print(f"written: {path.name}, {path.with_suffix('.png').name}")


if __name__ == "__main__":
    main()
