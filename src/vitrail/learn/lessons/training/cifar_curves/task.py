"""`data/cifar.py` reads both versions of the format; `train/writers/` has what `write` may be."""

import random

from vitrail.learn import Case, Claim, Task

RECORD = 3073


def archive(count: int, seed: int, damage: int = 0) -> bytes:
    """A small file of the binary version: a colour per class, with noise."""
    generator = random.Random(seed)
    content = bytearray()
    for number in range(count):
        label = (7 * number + seed) % 10
        content.append(label)
        for plane in range(3):
            base = (40 * label + 90 * plane) % 200
            content += bytes(base + generator.randrange(56) for _ in range(1024))
    return bytes(content[: len(content) - damage])


def file(count: int, seed: int, steps: int, rate: float):
    return lambda: (archive(count, seed), steps, rate)


def damaged(run):
    """What happens with a file that lacks a byte."""
    try:
        run(archive(2, 1, damage=1), 1, 0.1)
    except ValueError:
        return 1
    return 0


TASK = Task(
    subject="run",
    cases=(
        Case("3 images, 2 steps", file(3, 1, 2, 0.01)),
        Case("5 images, 4 steps", file(5, 2, 4, 0.05)),
    ),
    gradients=False,
    dtype=False,
    meta=False,
    claims=(
        Claim("A damaged file is refused by ValueError.", "损坏的文件要用 ValueError 拒绝。",
              damaged),
    ),
)  # fmt: skip
