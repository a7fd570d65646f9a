"""A small convolutional network that learns all 60,000 labels of Fashion-MNIST, to teach a ViT.

python recipes/methods/conv_teacher.py

takes 5 minutes of one core and writes runs/conv_teacher.safetensors.

`fashion_distill.yaml` takes it from there. It is no model of Vitrail's: a teacher is anything that
gives logits. Its `preprocess` says how it wants its images.
"""

import sys
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import nn

from vitrail.data.loader import Loader
from vitrail.data.registry import open_dataset
from vitrail.data.transforms import flip
from vitrail.preprocess import Preprocess
from vitrail.train.metrics import evaluate_classifier

FILE = Path("runs/conv_teacher.safetensors")
EPOCHS, BATCH, RATE = 6, 128, 4e-3


def network() -> nn.Sequential:
    """93,000 weights: three convolutions, each halving the map, and a linear layer."""
    layers: list[nn.Module] = []
    for channels, filters in ((1, 24), (24, 48), (48, 96)):
        convolution = nn.Conv2d(channels, filters, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(filters), nn.ReLU(), nn.MaxPool2d(2)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.3), nn.Linear(96 * 9, 10))
    model.preprocess = Preprocess((28, 28), None, "bilinear", (0.2860,), (0.3530,))
    return model


def make() -> nn.Module:
    """The trained teacher, for `method.teacher=python:recipes/methods/conv_teacher.py:make`."""
    if not FILE.is_file():
        raise FileNotFoundError(f"no {FILE}: run `python recipes/methods/conv_teacher.py` first")
    model = network()
    model.load_state_dict(safetensors.torch.load_file(FILE))
    return model


def main() -> None:
    """Trains it and tells how good it is."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    train, test = (open_dataset("fashion-mnist", split) for split in ("train", "test"))
    model = network()
    prepare = model.preprocess
    loader = Loader(train, BATCH, prepare.crop, seed=0, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, total_steps=EPOCHS * len(loader), pct_start=0.2
    )
    draw = torch.Generator().manual_seed(0)
    for epoch in range(EPOCHS):
        model.train()
        for batch in loader.epoch(epoch):
            images = flip(prepare.normalise(batch.images), 0.5, draw)
            optimizer.zero_grad()
            F.cross_entropy(model(images), batch.labels, label_smoothing=0.05).backward()
            optimizer.step()
            schedule.step()
        result = evaluate_classifier(model, Loader(test, 1000, prepare.crop), prepare)
        sys.stderr.write(f"epoch {epoch + 1} of {EPOCHS}: {result.top1:.2%} on the test images\n")
    FILE.parent.mkdir(exist_ok=True)
    safetensors.torch.save_file(model.state_dict(), FILE)


if __name__ == "__main__":
    main()
