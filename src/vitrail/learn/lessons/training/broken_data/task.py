"""`data/splits.py` holds out a part; statistics belong to the training split."""

import torch

from vitrail.learn import Case, Task


def data(count: int, test: int, channels: int, seed: int):
    def draw():
        brightness = torch.arange(1, channels + 1).view(1, -1, 1, 1) * 60
        images = (torch.rand(count, channels, 3, 2) * brightness).to(torch.uint8)
        test_images = (torch.rand(test, channels, 3, 2) * 200).to(torch.uint8)
        return images, torch.arange(count), test_images, seed

    return draw


TASK = Task(
    subject="prepare",
    cases=(
        Case("10 images, 4 for the test, C=3", data(10, 4, 3, 1)),
        Case("11 images, 3 for the test, C=2", data(11, 3, 2, 2)),
    ),
    gradients=False,
    dtype=False,
    meta=False,
)
