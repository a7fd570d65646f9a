"""Figures of a classifier, on predictions that are known."""

import pytest
import torch

from vitrail.data.registry import open_dataset
from vitrail.train.metrics import Evaluation, collect, describe_evaluation, summarize


def from_ranks(ranks: list[list[int]], targets: list[int]) -> Evaluation:
    """An evaluation whose classes, likeliest first, are given for each image."""
    logits = torch.zeros(len(ranks), 7)
    for row, order in enumerate(ranks):
        logits[row, order] = torch.arange(7, 0, -1.0)
    return summarize(logits, torch.tensor(targets), torch.arange(len(targets)))


def test_the_right_class_is_among_the_first():
    order = [0, 1, 2, 3, 4, 5, 6]
    result = from_ranks([order] * 7, order)
    assert result.top1 == pytest.approx(1 / 7)
    assert result.top5 == pytest.approx(5 / 7)


def test_top_five_of_fewer_classes_is_all():
    result = summarize(torch.eye(3)[[0, 1]], torch.tensor([1, 2]), torch.arange(2))
    assert (result.top1, result.top5) == (0, 1)


def test_rows_of_the_confusion_are_the_truth():
    logits = torch.eye(3)[[0, 2, 2, 1]]
    result = summarize(logits, torch.tensor([0, 1, 1, 2]), torch.arange(4))
    assert result.confusion().tolist() == [[1, 0, 0], [0, 0, 2], [0, 1, 0]]


def test_mistakes_are_the_most_confident_first():
    logits = torch.tensor([[1.0, 0], [5, 0], [0, 9], [3, 0]])
    result = summarize(logits, torch.tensor([1, 1, 1, 1]), torch.arange(4))
    assert result.mistakes().tolist() == [1, 3, 0]


def test_examples_show_each_class_before_any_again():
    targets = torch.tensor([0, 0, 0, 1, 1, 2])
    result = summarize(torch.eye(3)[targets], targets, torch.arange(6))
    assert result.examples().tolist() == [0, 3, 5, 1, 4, 2]


def test_the_loss_is_the_mean_cross_entropy():
    logits = torch.log(torch.tensor([[0.5, 0.5], [0.25, 0.75]]))
    result = summarize(logits, torch.tensor([0, 1]), torch.arange(2))
    expected = -(torch.tensor(0.5).log() + torch.tensor(0.75).log()) / 2
    assert result.loss == pytest.approx(expected.item())
    assert result.probabilities[1].tolist() == pytest.approx([0.25, 0.75])


def test_batches_are_concatenated_in_their_order_with_progress():
    steps = []
    batches = [(torch.full((2, 3), i), torch.tensor([i, i]), torch.tensor([i, 9])) for i in (4, 5)]
    outputs, targets, indices = collect(batches, 2, lambda *done: steps.append(done))
    assert outputs.dtype == torch.float32 and outputs[:, 0].tolist() == [4, 4, 5, 5]
    assert (targets.tolist(), indices.tolist()) == ([4, 4, 5, 5], [4, 9, 5, 9])
    assert steps == [(1, 2), (2, 2)]


def test_a_report_names_the_mistakes_and_counts_each_class():
    digits = open_dataset("digits", limit=20)
    targets = torch.tensor(digits.targets())
    predicted = targets.clone()
    predicted[3] = (targets[3] + 1) % 10
    result = summarize(9 * torch.eye(10)[predicted], targets, torch.arange(20))
    figures, details, images = describe_evaluation(result, digits, digits.labels, lambda x: x)
    assert figures["top1"] == pytest.approx(0.95)
    (mistake,) = details["mistakes"]
    assert mistake["name"] == digits.name(3) and torch.equal(images[0], digits.read(3))
    assert (mistake["truth"], mistake["predicted"]) == (int(targets[3]), int(predicted[3]))
    count = int((targets == targets[3]).sum())
    assert details["per_class"][int(targets[3])] == pytest.approx(1 - 1 / count, abs=1e-4)
