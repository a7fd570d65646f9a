"""Collages of two garments: is a map of the class that is asked for?

    python -m benchmarks.collages train ViT --seed 0    # a minute on one core
    python -m benchmarks.collages choose ViT --seed 0   # its explanations, on training collages
    python -m benchmarks.collages test ViT --seed 0     # the recommended one, on test collages

A collage is a canvas of 56 x 56 pixels with two garments of Fashion-MNIST, of different classes, in
two of its four quarters: their boxes. There are five classes, which small models soon tell apart. A
model learns to name both (several labels per image). Then an explanation is asked for one class and
for the other. It is right if its map lies in the box of the class that was asked for: `ratio` is
the mean share of the map inside that box, divided by the mean share inside the other; 1 for a map
that is the same for every class.

One explanation per model is recommended. It is fixed by `choose`, on collages of training garments
and the model of the first seed: of the explanations that beat random maps by two standard errors in
insertion less deletion, and depend on the weights, the one with the largest ratio. Only then `test`
asks that one about collages of test garments, with the models of all seeds.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import vitrail
from benchmarks.common import ROOT, read, write
from vitrail.data.packaged import FASHION_LABELS, open_fashion_mnist
from vitrail.data.pairs import PairDataset
from vitrail.errors import VitrailError
from vitrail.lens.explanations.base import explains_classes
from vitrail.lens.faithfulness.boxes import mass_inside
from vitrail.lens.faithfulness.compare import (
    COMPARED,
    MAX_CORRELATION,
    RANDOM,
    Faithfulness,
    measure_explanation,
)
from vitrail.models.base import Backbone
from vitrail.run_folder import RunFolder

CANVAS, GARMENT = 56, 28  # pixels
LEARNED = 55_000  # training garments; the remaining 5,000 are for the accuracy of a run
CLASSES = ("Trouser", "Pullover", "Dress", "Sneaker", "Bag")
CHOOSING_SEED = "0"
TRAINING, HELD_OUT, EPOCHS = 10_000, 400, 2
CHOSEN_ON, TESTED_ON = 16, 64  # collages whose maps are measured
OF_CLASSES = [name for name in COMPARED if explains_classes(name)]
RUNS = ROOT / "runs" / "collages"
MODELS: dict[str, dict[str, Any]] = {
    "ViT": {"patch_size": 14, "dim": 64, "depth": 3, "heads": 4, "mlp_dim": 128, "pool": "mean"},
    "VisionMamba": {"patch_size": 14, "dim": 64, "depth": 3, "pool": "mean"},
    "Swin": {
        "patch_size": 7, "dim": (32, 64), "depth": (2, 2), "heads": (2, 4), "window": 4,
        "mlp_ratio": 2,
    },
}  # fmt: skip


class Collages(NamedTuple):
    """Collages of two garments.

    Args:
        images: uint8 (N, 1, 56, 56).
        classes: (N, 2), index of the class of each garment.
        boxes: (N, 2, 4), left, top, right and bottom of each, as fractions of the canvas.
    """

    images: Tensor
    classes: Tensor
    boxes: Tensor

    def dataset(self, name: str) -> PairDataset:
        """The collages with the names of both classes as labels."""
        labels = [[CLASSES[i] for i in pair] for pair in self.classes.tolist()]
        pairs = list(zip(self.images, labels, strict=True))
        dataset = PairDataset(pairs, CLASSES, name)
        pixels = self.images / 255
        dataset.statistics = ((pixels.mean().item(),), (pixels.std().item(),))
        return dataset


def collages(split: str, garments: range, count: int, seed: int) -> Collages:
    """Draws collages.

    Args:
        split: split of Fashion-MNIST, "train" or "test".
        garments: indices of the garments to choose from.
        count: number of collages N.
        seed: of the garments and their positions.
    """
    dataset = open_fashion_mnist()[split]()
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.tensor([CLASSES.index(n) if n in CLASSES else -1 for n in FASHION_LABELS])
    targets = numbers[torch.tensor(dataset.targets())]
    pairs = torch.randint(garments.start, garments.stop, (8 * count, 2), generator=generator)
    first, second = targets[pairs].unbind(1)
    pairs = pairs[(first >= 0) & (second >= 0) & (first != second)][:count]
    quarters = torch.rand(count, 4, generator=generator).argsort(1)[:, :2]
    corners = torch.stack([quarters // 2, quarters % 2], dim=-1) * GARMENT  # top, left
    images = torch.zeros(count, 1, CANVAS, CANVAS, dtype=torch.uint8)
    for image, pair, pair_corners in zip(images, pairs, corners.tolist(), strict=True):
        for index, (top, left) in zip(pair, pair_corners, strict=True):
            image[:, top : top + GARMENT, left : left + GARMENT] = dataset.read(int(index))
    boxes = torch.cat([corners.flip(-1), corners.flip(-1) + GARMENT], dim=-1) / CANVAS
    return Collages(images, targets[pairs], boxes)


def train(name: str, seed: int, folder: Path) -> None:
    """Trains a model to name both garments of a collage, unless the folder has it."""
    if RunFolder(folder).model_folder.exists():
        return
    training = collages("train", range(LEARNED), TRAINING, seed)
    held_out = collages("train", range(LEARNED, 60_000), HELD_OUT, seed=0)
    vitrail.fit(
        name,
        data={"train": training.dataset("collages"), "test": held_out.dataset("held out")},
        method="multi_label",
        options=MODELS[name],
        out=folder,
        seed=seed,
        epochs=EPOCHS,
        batch_size=32,
        lr=2e-3,
        weight_decay=0.05,
        crop="none",
        flip=0,
        validation=0,
        threads=1,
        eval_every=100,
    )


def measure_all(model: Backbone, sample: Collages, names: Sequence[str]) -> dict[str, Any]:
    """Tests explanations of classes that serve a model on collages → figures by explanation."""
    inputs = model.preprocess.normalise(sample.images)
    random = [_measure_garment(model, inputs, sample, RANDOM, garment) for garment in (0, 1)]
    results: dict[str, Any] = {}
    for name in names:
        try:
            answers = [_measure_garment(model, inputs, sample, name, garment) for garment in (0, 1)]
        except VitrailError as reason:
            print(f"  {name:<22} {reason}")
            continue
        results[name] = figures_of(answers, random, sample)
        figures = "  ".join(f"{key} {value:.3f}" for key, value in results[name].items())
        print(f"  {name:<22} {figures}", flush=True)
    return results


def _measure_garment(
    model: Backbone, inputs: Tensor, sample: Collages, name: str, garment: int
) -> Faithfulness:
    """An explanation of the first or of the second garment of each collage."""
    return measure_explanation(model, inputs, name, sample.classes[:, garment].tolist())


def figures_of(
    answers: Sequence[Faithfulness], random: Sequence[Faithfulness], sample: Collages
) -> dict[str, float]:
    """What the maps of an explanation are worth, asked for the first and for the second garment.

    Args:
        answers: of the explanation, asked for each of the two garments.
        random: of random maps, likewise.
        sample: the collages.

    Returns:
        `ratio`; `moved`, the fraction of collages in which each box has more of the map when its
        class is asked for than when the other one is; `deletion` and `insertion`, areas under the
        curves; `gain`, insertion less deletion beyond that of random maps, and `gain_error`, its
        standard error; `correlation` with the map of random weights.
    """
    boxes = [sample.boxes[:, box].tolist() for box in (0, 1)]
    masses = torch.stack([  # (asked garment, box, N)
        torch.stack([mass_inside(answer.maps, box) for box in boxes]) for answer in answers
    ])  # fmt: skip
    inside, outside = masses[[0, 1], [0, 1]], masses[[0, 1], [1, 0]]  # (asked garment, N)
    deletion, insertion, chance_deletion, chance_insertion = (
        torch.stack([getattr(each, key) for each in results]).mean(0)
        for results in (answers, random)
        for key in ("deletion", "insertion")
    )
    gain = insertion - deletion - (chance_insertion - chance_deletion)
    correlations = [answer.correlation for answer in answers if answer.correlation is not None]
    return {
        "ratio": float(inside.mean() / outside.mean().clamp(min=1e-6)),
        "moved": float((inside > outside.flip(0)).all(dim=0).float().mean()),
        "deletion": float(deletion.mean()),
        "insertion": float(insertion.mean()),
        "gain": float(gain.mean()),
        "gain_error": float(gain.std() / len(gain) ** 0.5),
        "correlation": float(torch.cat(correlations).mean()),
    }


def add(name: str, seed: int, split: str, figures: dict[str, Any]) -> None:
    """Adds figures of a run to benchmarks/results/collages.json."""
    runs = read("collages").get("runs", {})
    runs.setdefault(name, {}).setdefault(str(seed), {})[split] = figures
    write("collages", {"runs": runs})


def recommended(name: str) -> str:
    """The explanation that training collages recommend for a model."""
    results: dict[str, dict[str, float]] = read("collages")["runs"][name][CHOOSING_SEED]["choose"]
    ratios = {
        explanation: figures["ratio"]
        for explanation, figures in results.items()
        if figures["gain"] > 2 * figures["gain_error"] and figures["correlation"] < MAX_CORRELATION
    }
    return max(ratios, key=lambda explanation: ratios[explanation])


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", choices=("train", "choose", "test"))
    parser.add_argument("model", choices=tuple(MODELS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="file for the figures of the recommended one")
    options = parser.parse_args()
    torch.set_num_threads(1)
    name, seed = options.model, options.seed
    folder = RUNS / f"{name}-{seed}"
    if options.task == "train":
        train(name, seed, folder)
        figures = RunFolder(folder).evaluation or {}
        add(name, seed, "model", {"mean_average_precision": figures["map"]})
        return
    model = vitrail.load(folder).eval()
    if options.task == "choose":
        sample = collages("train", range(LEARNED), CHOSEN_ON, seed=1_000)
        add(name, seed, "choose", measure_all(model, sample, OF_CLASSES))
        return
    sample = collages("test", range(10_000), TESTED_ON, seed=1_000)
    explanation = recommended(name)
    figures = measure_all(model, sample, [explanation])[explanation]
    add(name, seed, "test", {explanation: figures})
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
