"""Plants faults in small runs, and counts those that the monitor names within 100 steps.

    python -m tools.planted_faults --seed 0 --out faults.json             # 5 faults, 5 healthy runs
    python -m tools.planted_faults --data mnist5k --only vit,vit+rate     # some of them

A fault counts as named if a warning of its kind, at its part, comes within 100 steps. A healthy
run counts as quiet if no warning comes at all. The limits of the monitor were fixed on
Fashion-MNIST with seed 0, before other data and seeds were tried.
"""

import argparse
import dataclasses
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vitrail.methods.base import Batch
from vitrail.run_folder import RunFolder
from vitrail.train.callback import Callback, Values
from vitrail.train.config import RunConfig, make_config
from vitrail.train.data_factory import open_datasets
from vitrail.train.factory import build_trainer
from vitrail.train.trainer import Trainer

STEPS = 100
BLOCK, HEAD = 2, 1  # where faults are planted

VIT = {"patch_size": 4, "dim": 64, "depth": 4, "heads": 4, "mlp_dim": 128}
SWIN = {"patch_size": 2, "dim": [24, 48], "depth": [1, 2], "heads": [2, 4], "mlp_ratio": 2}
MAE = {"decoder_dim": 48, "decoder_depth": 1, "decoder_heads": 4}
DINO = {"out_dim": 256, "head_dims": [128, 64]}
CROPS = {"local": 2, "local_size": 16, "blur": (0, 0, 0), "solarize": (0, 0, 0)}
HEALTHY: dict[str, dict[str, Any]] = {
    "vit": {},
    "vim": {"model": {"name": "VisionMamba", "options": {"patch_size": 7, "dim": 64, "depth": 4}}},
    "swin": {"model": {"name": "Swin", "options": SWIN}},
    "mae": {"method": {"name": "mae", **MAE}},
    "dino": {
        "method": {"name": "dino", **DINO},
        "data": {"crops": CROPS, "augment": {"crop": "resized"}},
    },
}


class Fault(NamedTuple):
    """A fault, and the warning that names it.

    Args:
        plant: changes a trainer before it starts.
        kind: of the warning.
        part: of the warning, the beginning of it.
        head: of the warning.
    """

    plant: Callable[[Trainer], None]
    kind: str
    part: str
    head: int | None = None


@torch.no_grad()
def zero_head(trainer: Trainer) -> None:
    """Sets values and projection of a head to 0, from where no gradient leads away."""
    attention: Any = trainer.method.backbone.blocks[BLOCK].mixer
    dim = attention.proj.in_features
    width = dim // attention.heads
    head = slice(HEAD * width, (HEAD + 1) * width)
    attention.proj.weight[:, head] = 0
    for tensor in (attention.qkv.weight, attention.qkv.bias):
        tensor[2 * dim :][head] = 0


def freeze_block(trainer: Trainer) -> None:
    """Lets a block learn no more."""
    trainer.method.backbone.blocks[BLOCK].requires_grad_(False)


@torch.no_grad()
def kill_units(trainer: Trainer) -> None:
    """Biases half of the hidden units of a block so that they never fire."""
    linear: Any = trainer.method.backbone.blocks[BLOCK].mlp.fc1
    linear.bias[: len(linear.bias) // 2] = -10


def raise_rate(trainer: Trainer) -> None:
    """Multiplies the learning rate by 30."""
    for group in trainer.optimizer.param_groups:
        group["lr"] *= 30
        group["initial_lr"] = group["lr"]


def shuffle_labels(trainer: Trainer) -> None:
    """Gives each image the label of a random other one, always the same."""
    stream: Any = trainer.stream
    truth = stream.loader.dataset.truth()
    order = torch.randperm(len(truth), generator=torch.Generator().manual_seed(trainer.seed))
    epoch = stream.epoch

    def shuffled(*arguments: Any) -> Iterator[Batch]:
        for batch in epoch(*arguments):
            yield dataclasses.replace(batch, labels=truth[order][batch.indices])

    stream.epoch = shuffled


FAULTS = {
    "head": Fault(zero_head, "dead_head", f"block {BLOCK}", HEAD),
    "rate": Fault(raise_rate, "rate", ""),
    "frozen": Fault(freeze_block, "unchanged", f"blocks.{BLOCK}"),
    "units": Fault(kill_units, "dead_units", f"block {BLOCK}"),
    "labels": Fault(shuffle_labels, "labels", "run"),
}


class StopAt(Callback):
    """Ends a run after some steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def after_step(self, trainer: Trainer, values: Values) -> None:
        del values
        if trainer.step == self.step:
            trainer.end()


def settings(kind: str, source: str, seed: int) -> RunConfig:
    """The settings of a healthy run."""
    base: dict[str, Any] = {
        "model": {"name": "ViT", "options": VIT},
        "data": {
            "source": source, "batch_size": 64, "validation": 0, "workers": 0,
            "augment": {"crop": "padded", "padding": 2, "flip": 0}, "limit": 4000,
        },
        "schedule": {"epochs": 6},
        "train": {"seed": seed, "threads": 1},
    }  # fmt: skip
    other = HEALTHY[kind]
    for section, values in other.items():
        base[section] = {**base.get(section, {}), **values}
    return make_config(base)


def lines_of(
    config: RunConfig, plant: Callable[[Trainer], None] | None = None, steps: int = STEPS
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The warnings of the first steps of a run, and the measurements."""
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(folder)
        trainer, _evaluator = build_trainer(config, run, open_datasets(config), [StopAt(steps)])
        if plant is not None:
            plant(trainer)
        trainer.fit()
        lines = run.health
    return [line for line in lines if "kind" in line], [
        line for line in lines if "measures" in line
    ]


def is_named(fault: Fault, warnings: list[dict[str, Any]]) -> bool:
    """Whether a warning names a fault."""
    return any(
        w["kind"] == fault.kind
        and w["part"].startswith(fault.part)
        and w["head"] == fault.head
        and w["step"] <= STEPS
        for w in warnings
    )


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--only", default="", help="faults and healthy runs, separated by commas")
    parser.add_argument("--out", type=Path, help="JSON file of counts")
    parser.add_argument("--lines", type=Path, help="folder for all measurements")
    options = parser.parse_args()
    names = (
        options.only.split(",")
        if options.only
        else [*HEALTHY, *(f"vit+{fault}" for fault in FAULTS)]
    )
    counts = {"faults": 0, "named": 0, "healthy": 0, "quiet": 0}
    for name in names:
        kind, _plus, planted = name.partition("+")
        fault = FAULTS.get(planted)
        plant = None if fault is None else fault.plant
        warnings, lines = lines_of(settings(kind, options.data, options.seed), plant)
        good = is_named(fault, warnings) if fault else not warnings
        counts["faults" if fault else "healthy"] += 1
        counts["named" if fault else "quiet"] += good
        others = [w["text"] for w in warnings]
        sys.stdout.write(
            f"{options.data} {options.seed} {name}: {'ok' if good else 'MISSED'} {others}\n"
        )
        if options.lines:
            path = options.lines / f"{options.data}-{name}-{options.seed}.json"
            path.write_text(json.dumps(lines))
    sys.stdout.write(f"{counts}\n")
    if options.out:
        options.out.write_text(json.dumps(counts))


if __name__ == "__main__":
    main()
