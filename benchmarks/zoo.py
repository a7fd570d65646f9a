"""Every model against its original: a forward pass and a training step, same weights, in turn.

python -m benchmarks.zoo [--quick] [--only Swin,CaiT]

The pairs are those of parity/pairs, at a published size. Ratios are the original's time over
ours: above 1 ours is faster. Rows of other processors stay in the file. NaViT's packs of mixed
sizes have a script of their own: navit.py.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common import RESULTS, compare, machine, read, write
from parity.pairs import Pair, pairs

torch.set_num_threads(os.cpu_count() or 1)

BATCH = 4
# Bars of ours against vit-pytorch, beside 1.0 against everybody.
FASTER = {"ScalableViT": 1.3, "DeepViT": 1.3, "CrossViT": 1.3, "SmallViT": 1.3, "ViViT": 1.3}


def step(
    model: nn.Module, run: Callable[[nn.Module, Tensor], Tensor], images: Tensor
) -> Callable[[], None]:
    """A training step: forward, backward, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)

    def call() -> None:
        optimizer.zero_grad()
        logits = run(model, images)
        F.cross_entropy(logits, torch.zeros(len(images), dtype=torch.long)).backward()
        optimizer.step()

    return call


def measure(pair: Pair, rounds: int) -> dict[str, Any]:
    """Ratios of a pair, and the seconds behind them."""
    ours, theirs = pair.build(True)
    images = pair.inputs(pair.full, BATCH)
    with torch.inference_mode():
        mine, original = ours(images), pair.run(theirs, images)
        apart = ((mine - original).abs().max() / original.abs().max().clamp(min=1)).item()
        assert apart < 1e-3, f"{pair.model} and {pair.original} do not compute the same: {apart}"
        calls = {"ours": lambda: ours(images), "theirs": lambda: pair.run(theirs, images)}
        forward = compare(calls, rounds, warmup=1)
    ours.train(), theirs.train()
    calls = {
        "ours": step(ours, lambda model, x: model(x), images),
        "theirs": step(theirs, pair.run, images),
    }
    training = compare(calls, max(3, rounds // 2), warmup=1)
    return {
        "model": pair.model,
        "original": pair.original,
        "input": [BATCH, pair.channels, *pair.full],
        "parameters": sum(p.numel() for p in ours.parameters()),
        "forward": forward["theirs"]["ratio"],
        "forward of minima": forward["theirs"]["ratio_of_min"],
        "training step": training["theirs"]["ratio"],
        "training step of minima": training["theirs"]["ratio_of_min"],
        "seconds": {
            "forward": [forward[name]["median"] for name in ("ours", "theirs")],
            "training step": [training[name]["median"] for name in ("ours", "theirs")],
        },
    }


def main() -> None:
    """Times all pairs, or those of --only, and writes the figures beside the others."""
    quick = "--quick" in sys.argv
    only = sys.argv[sys.argv.index("--only") + 1].split(",") if "--only" in sys.argv else None
    timed = [p for p in pairs() if p.full and (only is None or p.model in only)]
    processor = machine()["processor"]
    earlier = [] if quick else read("zoo").get("rows", [])
    rows = {(r["model"], r["original"], r["processor"]): r for r in earlier}
    print(f"{'model':<16} {'original':<42} {'forward':>8} {'training':>9}   bar")
    failed = []
    for pair in timed:
        try:
            row = measure(pair, 3 if quick else 5)
        except Exception as problem:  # the others are worth knowing all the same
            failed.append(f"{pair.model}, {pair.original}: {str(problem)[:200]}")
            continue
        bar = FASTER.get(pair.model, 1.0) if pair.original.startswith("vit-pytorch") else 1.0
        row |= {"bar": bar, "processor": processor}
        rows[pair.model, pair.original, processor] = row
        print(
            f"{pair.model:<16} {pair.original:<42} {row['forward']:7.2f}x "
            f"{row['training step']:8.2f}x  {bar}"
        )
        if not quick:
            write("zoo", {"rows": [rows[key] for key in sorted(rows)]}, report=False)
    if not quick:
        print(f"written: {RESULTS.name}/zoo.json")
    if failed:
        sys.exit("not measured:\n" + "\n".join(failed))


if __name__ == "__main__":
    main()
