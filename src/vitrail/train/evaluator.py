"""Evaluation of what a method learned: by its own classifier, or by k-NN where it has none."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor

from vitrail.arguments import checked
from vitrail.data.dataset import Dataset
from vitrail.data.loader import Loader
from vitrail.data.splits import balanced, fold_numbers
from vitrail.messages import ngettext
from vitrail.methods import distributed
from vitrail.methods.base import Batch, Method
from vitrail.methods.logistic import fit_logistic
from vitrail.models.base import Backbone
from vitrail.preprocess import Preprocess
from vitrail.train.console import note
from vitrail.train.knn import chunk_rows, knn
from vitrail.train.metrics import (
    AnyEvaluation,
    Evaluation,
    collect,
    evaluate_classifier,
    summarize,
    summarize_outputs,
)
from vitrail.train.pieces import in_halves
from vitrail.train.seeds import mix_seed
from vitrail.train.streams import Stream
from vitrail.values import PositiveInt

K = 20
LOGGED = ("loss", "top1", "top5", "map", "micro_f1", "mae", "rmse", "r2")  # in training
EPSILON = 1e-4  # a class that no neighbor has is unlikely, not impossible

Progress = Callable[[int, int], None]


class Evaluator:
    """Evaluates a method's backbone on held-out samples.

    The features of a method that learns no classes are evaluated by k-NN among training samples,
    as DINO's authors do.

    Args:
        train: training samples.
        validation: held-out samples of the model's size.
        preprocess: normalizes them.
        stream: held-out batches with what the method reads, for the evaluations during training; or
            a function that makes them where they are needed, as for features that take long.
        loss_stream: held-out batches for the validation loss of a method that compares the samples
            of a batch: like those of training, whose size and mixture its loss depends on. None
            for `stream`.
        knn_images: number of training samples for k-NN, evenly over the classes.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> from vitrail.methods.supervised import Supervised
        >>> from vitrail.train.streams import ImageStream, evaluation_transform
        >>> digits = open_dataset("digits", limit=20)
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, channels=1, dim=8,
        ...                              num_classes=10, depth=1, heads=1, mlp_dim=8)
        >>> loader = Loader(digits, 10, model.preprocess.crop)
        >>> stream = ImageStream(loader, evaluation_transform(model.preprocess))
        >>> evaluator = Evaluator(digits, loader, model.preprocess, stream)
        >>> sorted(evaluator.figures(Supervised(model), model))
        ['loss', 'top1', 'top5']
    """

    @checked
    def __init__(
        self,
        train: Dataset,
        validation: Loader,
        preprocess: Preprocess,
        stream: Stream | Callable[[], Stream],
        loss_stream: Stream | None = None,
        knn_images: PositiveInt = 10_000,
    ) -> None:
        self.train, self.validation, self.preprocess = train, validation, preprocess
        self._stream, self._loss_stream, self.knn_images = stream, loss_stream, knn_images

    @functools.cached_property
    def stream(self) -> Stream:
        """Held-out batches with what the method reads."""
        return self._stream() if callable(self._stream) else self._stream

    def prepare(self) -> Stream:
        """Computes what the held-out batches hold, such as features, before training starts.

        Returns:
            The held-out batches.
        """
        return self.stream

    @property
    def loss_stream(self) -> Stream:
        """Held-out batches for the validation loss."""
        return self.stream if self._loss_stream is None else self._loss_stream

    def __call__(
        self, method: Method, backbone: Backbone, progress: Progress | None = None
    ) -> AnyEvaluation | None:
        """Evaluates a backbone on images.

        Args:
            method: method that trained it.
            backbone: the weights to evaluate.
            progress: called with (batches done, of how many).

        Returns:
            The evaluation; None if neither the method nor the dataset has classes.
        """
        classifier = method.classifier(backbone)
        if classifier is not None:
            return evaluate_classifier(
                classifier, self.validation, self.preprocess, progress, backbone.outputs
            )
        return self.by_knn(backbone, progress)

    def figures(self, method: Method, backbone: Backbone) -> dict[str, float]:
        """The figures to log during training.

        Args:
            method: method that trains the backbone.
            backbone: the weights to evaluate.

        Returns:
            "top1" and "top5" where there are classes, and "loss", of the classifier or the method;
            "map" and "micro_f1" of several labels; "mae", "rmse" and "r2" of numbers.
        """
        figures: dict[str, float] = {}
        if (result := self._by_stream(method, backbone)) is not None:
            figures = {name: result.figures[name] for name in LOGGED if name in result.figures}
        elif (by_knn := self.by_knn(backbone)) is not None:
            figures = {k: v for k, v in by_knn.figures.items() if k in ("top1", "top5")}
        if (loss := self.validation_loss(method)) is not None:
            figures["loss"] = loss
        return figures

    def by_knn(self, backbone: Backbone, progress: Progress | None = None) -> Evaluation | None:
        """Evaluates features by k-NN.

        Args:
            backbone: the weights to evaluate.
            progress: called with (batches done, of how many).

        Returns:
            The evaluation; None if the dataset has not one class per sample, or is streamed.
        """
        if len(self.train.labels) < 2 or self.train.streamed or self.train.target != "class":
            return None
        dataset = balanced(self.train, min(self.knn_images, len(self.train)))
        loader = Loader(
            dataset,
            self.validation.batch_size,
            self.validation.fit,
            workers=self.validation.workers,
            shard=self.validation.shard,
            deals=self.validation.deals,
        )
        bank, labels, _ = compute_features(backbone, loader, self.preprocess)
        queries, targets, indices = compute_features(
            backbone, self.validation, self.preprocess, progress
        )
        rank, processes = self.validation.shard if self.validation.deals else (0, 1)
        own = queries.split(chunk_rows(bank))[rank::processes]
        votes = [knn(bank, labels, chunk, len(dataset.labels), k=K) for chunk in own]
        fractions = torch.cat(distributed.deal_back(votes) if processes > 1 else votes)
        return summarize((fractions + EPSILON).log(), targets, indices)

    @torch.no_grad()
    def validation_loss(self, method: Method) -> float | None:
        """The loss on held-out samples, with the same masks each time.

        Args:
            method: method whose loss is computed.

        Returns:
            The mean loss; None where it measures nothing, as of a single image and caption.
        """
        if not method.has_validation_loss or self.loss_stream.batch_size < method.smallest_batch:
            return None
        device = next(method.parameters()).device

        def total(batch: Batch) -> Tensor:
            return method(batch).loss.float().reshape(1) * len(batch)

        was_training = method.training
        method.eval()
        terms, stream = [], self.loss_stream
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            for number, batch in zip(stream.numbers(), stream.epoch(0, 0, device), strict=False):
                torch.manual_seed(mix_seed(0, number))
                whole = method.batch_wide or batch.weights is not None
                loss = total(batch) if whole else in_halves(total, batch)
                terms.append((loss, len(batch)))
        method.train(was_training)
        sums = [(loss.sum().item(), count) for loss, count in terms]
        if stream.deals:
            sums = distributed.deal_back(sums)
        mean = torch.tensor(sum(loss for loss, _ in sums) / sum(count for _, count in sums))
        if stream is not self.stream:  # each process has a part of every batch
            mean = distributed.mean(mean.to(device))
        return mean.item()

    @torch.inference_mode()
    def _by_stream(self, method: Method, backbone: Backbone) -> AnyEvaluation | None:
        """The evaluation of the method's own predictions, if it learns classes."""
        modes = method.training, backbone.training
        method.eval()
        backbone.eval()
        predict = method.predictor(backbone)
        outputs = None
        if predict is not None:
            device = next(backbone.parameters()).device
            batches = (
                (in_halves(predict, batch), batch["labels"], batch["indices"])
                for batch in self.stream.epoch(0, 0, device)
            )
            outputs = collect(batches, len(self.stream), dealt=self.stream.deals)
        method.train(modes[0])
        backbone.train(modes[1])
        return None if outputs is None else summarize_outputs(*outputs, backbone.outputs)


@torch.inference_mode()
def compute_features(
    model: Backbone, loader: Loader, preprocess: Preprocess, progress: Progress | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Pooled features of a whole loader.

    Args:
        model: the backbone; its device and mode stay as they are.
        loader: samples of the model's size.
        preprocess: normalizes them.
        progress: called with (batches done, of how many).

    Returns:
        Features (N, D), labels (N,) and indices (N,).

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, channels=1, dim=8,
        ...                              num_classes=0, depth=1, heads=1, mlp_dim=8)
        >>> loader = Loader(open_dataset("digits", limit=20), 8, model.preprocess.crop)
        >>> compute_features(model, loader, model.preprocess)[0].shape
        torch.Size([20, 8])
    """
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device

    def pooled(images: Tensor) -> Tensor:
        return preprocess.apply(lambda x: model.pool(model.features(x)), images.to(device))

    batches = ((in_halves(pooled, raw.images), raw.labels, raw.indices) for raw in loader.epoch())
    features, labels, indices = collect(batches, len(loader), progress, dealt=loader.deals)
    model.train(was_training)
    # Out of inference mode, so that a loss can be built on them.
    return features.clone(), labels.clone(), indices.clone()


def evaluate_probe(
    backbone: Backbone,
    kind: Literal["knn", "linear"],
    train: Loader,
    validation: Loader,
    progress: Callable[[str], AbstractContextManager[Progress]],
) -> tuple[Evaluation, dict[str, Any]]:
    """Evaluates pooled features by labelled training samples.

    Args:
        backbone: the model.
        kind: "knn" for k-NN, "linear" for logistic regression.
        train: labelled samples to learn from.
        validation: samples to evaluate on.
        progress: makes a progress bar from its title.

    Returns:
        The evaluation; and "probe", "training_images" and, of logistic regression, "penalty".

    Example:
        >>> import contextlib
        >>> from vitrail.data.registry import open_dataset
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, channels=1, dim=8,
        ...                              num_classes=0, depth=1, heads=1, mlp_dim=8)
        >>> loader = Loader(open_dataset("digits", limit=20), 10, model.preprocess.crop)
        >>> quiet = lambda title: contextlib.nullcontext(lambda done, total: None)
        >>> evaluate_probe(model, "knn", loader, loader, quiet)[1]
        {'probe': 'knn', 'training_images': 20}
    """
    classes = len(validation.dataset.labels)
    with progress("features of training images") as bar:
        bank, labels, _ = compute_features(backbone, train, backbone.preprocess, bar)
    with progress("features of test images") as bar:
        queries, targets, indices = compute_features(backbone, validation, backbone.preprocess, bar)
    details: dict[str, Any] = {"probe": kind, "training_images": len(labels)}
    if absent := classes - len(labels.unique()):
        text = ngettext(
            "{absent} of {classes} classes has no training image, and is never predicted: take "
            "more images.",
            "{absent} of {classes} classes have no training image, and are never predicted: take "
            "more images.",
            absent,
        )
        note(text.format(absent=absent, classes=classes))
    logits, penalty = _probe(kind, bank, labels, queries, classes)
    if penalty is not None:
        details["penalty"] = penalty
    return summarize(logits, targets, indices), details


def cross_validate(
    backbone: Backbone,
    kind: Literal["knn", "linear"],
    loader: Loader,
    folds: int,
    progress: Callable[[str], AbstractContextManager[Progress]],
) -> tuple[Evaluation, dict[str, Any]]:
    """Evaluates pooled features by cross-validation: each part by the samples of all others.

    Args:
        backbone: the model.
        kind: "knn" for k-NN, "linear" for logistic regression.
        loader: labelled samples.
        folds: number of parts.
        progress: makes a progress bar from its title.

    Returns:
        The evaluation of all samples; and "probe", "folds" and "fold_top1", the accuracy of each
        part.

    Raises:
        DataError: a class has fewer samples than there are parts.

    Example:
        >>> import contextlib
        >>> from vitrail.data.registry import open_dataset
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, channels=1, dim=8,
        ...                              num_classes=0, depth=1, heads=1, mlp_dim=8)
        >>> loader = Loader(open_dataset("digits", limit=40), 10, model.preprocess.crop)
        >>> quiet = lambda title: contextlib.nullcontext(lambda done, total: None)
        >>> result, details = cross_validate(model, "knn", loader, 2, quiet)
        >>> result.figures["count"], len(details["fold_top1"])
        (40, 2)
    """
    classes = len(loader.dataset.labels)
    with progress("features of images") as bar:
        features, labels, indices = compute_features(backbone, loader, backbone.preprocess, bar)
    parts = fold_numbers(loader.dataset, folds)[indices]
    logits = features.new_zeros(len(features), classes)
    accuracies = []
    for number in range(1, folds + 1):
        part = parts == number
        logits[part] = _probe(kind, features[~part], labels[~part], features[part], classes)[0]
        right = logits[part].argmax(1) == labels[part]
        accuracies.append(round(right.double().mean().item(), 4))
    details = {"probe": kind, "folds": folds, "fold_top1": accuracies}
    return summarize(logits, labels, indices), details


def _probe(
    kind: Literal["knn", "linear"], bank: Tensor, labels: Tensor, queries: Tensor, classes: int
) -> tuple[Tensor, float | None]:
    """Logits of the queries, and the penalty of a logistic regression."""
    if kind == "knn":
        return (knn(bank, labels, queries, classes, k=K) + EPSILON).log(), None
    fit = fit_logistic(bank, labels, classes)
    return fit(queries), fit.penalty
