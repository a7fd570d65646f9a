"""What the monitor costs: a step of ViT-Ti/16 that is measured, beside one that is not.

    python -m benchmarks.monitor            # batches of 32 images of 224 pixels

Both kinds of step are timed in turn, in one process, by the clock of the processor: other work on
the machine does not count. A run measures every 10 steps at first, and every 50 after 200, so its
overhead is a tenth of that of a step, and later a fiftieth.
"""

import argparse
import statistics
import time
from collections.abc import Iterator

import torch

import vitrail
from benchmarks import common
from vitrail.methods.base import Batch
from vitrail.methods.supervised import Supervised
from vitrail.train.monitor.callback import Monitor
from vitrail.train.schedule import Schedule
from vitrail.train.streams import Stream
from vitrail.train.trainer import Trainer
from vitrail.train.writers.base import Writer


class OneBatch(Stream):
    """The same batch again and again."""

    def __init__(self, batch: Batch, steps: int) -> None:
        self.batch, self.steps, self.batch_size = batch, steps, len(batch)

    def __len__(self) -> int:
        return self.steps

    def epoch(self, epoch: int, start: int, device: torch.device | str) -> Iterator[Batch]:
        del epoch, device
        for _number in range(start, self.steps):
            yield self.batch


class Clock(Monitor):
    """A monitor of every other step, which notes how long steps take."""

    def __init__(self) -> None:
        super().__init__(Writer(), every=2)
        self.seconds: list[float] = []
        self.begin = 0.0

    def before_step(self, trainer: Trainer) -> None:
        self.begin = time.process_time()
        super().before_step(trainer)

    def after_step(self, trainer: Trainer, values: dict) -> None:  # type: ignore[type-arg]
        super().after_step(trainer, values)
        self.seconds.append(time.process_time() - self.begin)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps = 2 * options.pairs + 2  # a pair to warm up
    model = vitrail.create_model("vit_tiny_patch16_224", drop_path=0.1)
    images = torch.rand(options.batch, 3, 224, 224)
    batch = Batch(images=images, labels=torch.arange(options.batch))
    clock = Clock()
    trainer = Trainer(
        Supervised(model),
        OneBatch(batch, steps),
        torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True),
        schedule=Schedule(steps),
        callbacks=[clock],
    )
    trainer.fit()
    plain, measured = clock.seconds[2::2], clock.seconds[3::2]
    extra = statistics.median(m / p for p, m in zip(plain, measured, strict=True)) - 1
    results = {
        "batch": options.batch,
        "pairs": options.pairs,
        "seconds_of_a_step": statistics.median(plain),
        "extra_of_a_measured_step": extra,
        "overhead_every_10_steps": extra / 10,
        "overhead_every_50_steps": extra / 50,
    }
    for name, value in results.items():
        print(f"{name:<28} {value:.4g}")
    common.write("monitor", results)


if __name__ == "__main__":
    main()
