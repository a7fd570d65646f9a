"""A CNN and a ViT on 100 to 60,000 images of Fashion-MNIST: what an inductive bias is worth.

    python -m benchmarks.inductive_bias          # all sizes, seeds 0, 1, 2: half an hour
    python -m benchmarks.inductive_bias 1000 0   # one size, one seed

Both models have about 61,000 parameters, see the same images in the same order, without
augmentation, and take equally many steps: those of an epoch, and 600 at least. So it is the number
of images that is equal, not the time: seconds of the processor stand beside each run. Both learn by
AdamW at the same rate, which was not tuned. Test images are looked at once, after the last step: as
they are, and shifted by up to 3 pixels, which no model was trained on.
"""

import itertools
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import vitrail
from benchmarks.common import read, write
from vitrail.data.packaged import open_fashion_mnist

SIZES = (100, 300, 1_000, 3_000, 10_000, 60_000)
SEEDS = (0, 1, 2)
BATCH, LEAST_STEPS, WARMUP, RATE = 32, 600, 60, 1e-3
SHIFT = 3  # pixels
REPLAYED = 2_000  # training images whose accuracy is measured, at most


class CNN(nn.Sequential):
    """Four 3 x 3 convolutions, two halvings, a mean over positions: local, and alike everywhere."""

    def __init__(self) -> None:
        widths = (1, 16, 32, 64, 64)
        layers: list[nn.Module] = []
        for number, (width, next_width) in enumerate(itertools.pairwise(widths)):
            stride = 2 if number in (1, 2) else 1
            layers += [
                nn.Conv2d(width, next_width, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(next_width),
                nn.ReLU(),
            ]
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10))


def vit() -> nn.Module:
    """A ViT of 49 patches, 4 x 4 pixels each."""
    return vitrail.ViT(
        28, 4, channels=1, num_classes=10, dim=48, depth=3, heads=4, mlp_dim=96, pool="mean"
    )


MODELS: dict[str, Callable[[], nn.Module]] = {"CNN": CNN, "ViT": vit}


def tensors(split: str) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) with mean 0 and standard deviation 1, and targets (N,)."""
    dataset = open_fashion_mnist()[split]()
    images = dataset.read_batch(torch.arange(len(dataset))) / 255
    return (images - 0.286) / 0.353, torch.tensor(dataset.targets())


def steps_of(count: int) -> int:
    """Number of steps of a run with `count` images."""
    return max(LEAST_STEPS, count // BATCH)


def train(name: str, images: Tensor, targets: Tensor, seed: int) -> nn.Module:
    """Trains a model with AdamW, warm-up and cosine."""
    torch.manual_seed(seed)
    model = MODELS[name]()
    model.train()
    steps = steps_of(len(images))
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=steps, pct_start=WARMUP / steps, cycle_momentum=False
    )
    generator = torch.Generator().manual_seed(seed)  # the same order for both models
    order = torch.tensor([], dtype=torch.long)
    for _step in range(steps):
        while len(order) < BATCH:
            order = torch.cat([order, torch.randperm(len(images), generator=generator)])
        batch, order = order[:BATCH], order[BATCH:]
        optimizer.zero_grad()
        F.cross_entropy(model(images[batch]), targets[batch]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, targets: Tensor) -> float:
    """Fraction of images whose class is right."""
    model.eval()
    right = [
        (model(part).argmax(1) == labels).sum()
        for part, labels in zip(images.split(500), targets.split(500), strict=True)
    ]
    return float(sum(right)) / len(targets)


def shifted(images: Tensor) -> Tensor:
    """Each image moved by up to `SHIFT` pixels; black comes in."""
    padded = F.pad(images, (SHIFT,) * 4, value=float(images.min()))
    generator = torch.Generator().manual_seed(0)
    corners = torch.randint(2 * SHIFT + 1, (len(images), 2), generator=generator).tolist()
    side = images.shape[-1]
    return torch.stack(
        [
            image[:, y : y + side, x : x + side]
            for image, (y, x) in zip(padded, corners, strict=True)
        ]
    )


def run(sizes: tuple[int, ...], seeds: tuple[int, ...]) -> None:
    """Trains both models and writes their accuracy on test images."""
    images, targets = tensors("train")
    test_images, test_targets = tensors("test")
    moved = shifted(test_images)
    for seed in seeds:
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        for size in sizes:
            for name, build in MODELS.items():
                train_index = order[:size]
                measured_index = train_index[:REPLAYED]
                begin = time.process_time()
                model = train(name, images[train_index], targets[train_index], seed)
                seconds = time.process_time() - begin
                row = {
                    "parameters": sum(p.numel() for p in build().parameters()),
                    "steps": steps_of(size),
                    "seconds": round(seconds, 1),
                    "training": accuracy(model, images[measured_index], targets[measured_index]),
                    "test": accuracy(model, test_images, test_targets),
                    "shifted": accuracy(model, moved, test_targets),
                }
                print(f"{name} {size:6} seed {seed}: {row}", flush=True)
                results = read("inductive_bias")
                results.setdefault("runs", {})[f"{name}/{size}/{seed}"] = row
                write("inductive_bias", results, report=False)


def main(arguments: list[str]) -> None:
    """Reads the command line."""
    torch.set_num_threads(1)
    numbers = [int(argument) for argument in arguments]
    run(tuple(numbers[:1]) or SIZES, tuple(numbers[1:]) or SEEDS)


if __name__ == "__main__":
    main(sys.argv[1:])
