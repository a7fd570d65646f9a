"""Whether labels have anything to do with their images."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.methods.base import Batch

CELLS = 256  # numbers of a small image, at most, for the means of its cells
SIDE = 8  # cells per axis, at most
MOST, FEWEST = 4096, 500  # samples, at most and at least
PER_STEP = 64  # samples that are taken of a batch
TEST_EVERY = 3  # every third batch is predicted from the others
WIDEST = 512  # columns of the targets; more classes share them
RIDGE = 1e-2  # of the variance of a cell


def label_relation(inputs: Tensor, targets: Tensor, test: Tensor) -> float:
    """How far labels can be told from inputs by a linear map, in standard deviations of chance.

    A ridge regression is fitted to some samples. Its predictions of the others are compared with
    their labels, and with the same labels in all other orders: the mean and the variance over all
    orders are known in closed form (Hoeffding 1951, "A combinatorial central limit theorem"). No
    relation gives about 0 with a standard deviation of 1, at any number of classes and however rare
    some of them are.

    Args:
        inputs: (N, D).
        targets: (N, K), such as one column per class.
        test: bool (N,), True for the samples to predict.

    Returns:
        The standard score; 0 where one side is constant.

    Example:
        >>> x = torch.linspace(-1, 1, 300)[:, None]
        >>> test = torch.arange(300) % 3 == 0
        >>> label_relation(x, (x > 0).float(), test) > 5
        True
    """
    x, y = inputs.double(), targets.double()
    x = (x - x[~test].mean(dim=0)) / x[~test].std(dim=0).clamp_min(1e-6)
    y = y - y[~test].mean(dim=0)
    gram = x[~test].T @ x[~test]
    ridge = RIDGE * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    scores = x[test] @ torch.linalg.solve(gram + ridge, x[~test].T @ y[~test])
    agreement = scores @ y[test].T  # (n, n), of each prediction with each label
    count = len(agreement)
    rows, columns = agreement.mean(dim=1, keepdim=True), agreement.mean(dim=0, keepdim=True)
    variance = (agreement - rows - columns + agreement.mean()).square().sum() / (count - 1)
    excess = agreement.trace() - count * agreement.mean()
    return float(excess / variance.sqrt()) if variance > 1e-20 else 0.0


class LabelCheck:
    """Collects small images and labels in the first epoch, and tells whether they are related.

    Each image counts once, and whole batches are held out, because mixed images share labels within
    a batch only.

    Example:
        >>> check = LabelCheck()
        >>> for _step in range(9):
        ...     labels = torch.arange(64) % 2
        ...     images = labels[:, None, None, None] + torch.rand(64, 1, 8, 8)
        ...     check.add(Batch(images=images, labels=labels))
        >>> check.score() > 10
        True
    """

    def __init__(self) -> None:
        self.parts: list[tuple[Tensor, Tensor]] = []  # inputs (B, D) and labels of each batch
        self.indices: set[int] = set()  # of the samples
        self.count = 0

    @property
    def is_full(self) -> bool:
        """Whether it needs no more samples."""
        return self.count >= MOST

    def add(self, batch: Batch) -> None:
        """batch → its first samples, kept small."""
        labels = batch["labels"][:PER_STEP]
        inputs = batch.features if batch.images is None else batch.images
        if inputs is None:
            return
        keep = torch.arange(len(labels))
        if batch.indices is not None:
            numbers = batch.indices[:PER_STEP].tolist()
            keep = torch.tensor([i for i, n in enumerate(numbers) if n not in self.indices])
            self.indices.update(numbers)
        if len(keep):
            some = inputs[:PER_STEP][keep.to(inputs.device)].float()
            small = some if batch.images is None else _small(some)
            self.parts.append((small.cpu(), labels[keep.to(labels.device)].cpu()))
            self.count += len(keep)

    def score(self) -> float | None:
        """`label_relation` of the samples so far; None where they are too few to say."""
        if self.count < FEWEST or len(self.parts) < 2 * TEST_EVERY:
            return None
        width = max(_width(labels) for _inputs, labels in self.parts)
        inputs = torch.cat([part for part, _labels in self.parts])
        targets = torch.cat([_columns(labels, width) for _inputs, labels in self.parts])
        numbers = torch.arange(len(self.parts)).repeat_interleave(
            torch.tensor([len(part) for part, _labels in self.parts])
        )
        return label_relation(inputs, targets, numbers % TEST_EVERY == 0)


def _small(images: Tensor) -> Tensor:
    """images (B, C, *size) → means and contrasts (B, D) of the cells of a coarse grid."""
    axes = images.ndim - 2
    pool = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[axes - 1]
    channels = images.shape[1]
    side = max(1, min(SIDE, int((CELLS / channels) ** (1 / axes)), *images.shape[2:]))
    means, squares = (pool(x, (side,) * axes) for x in (images, images.square()))
    contrasts = (squares - means.square()).clamp_min(0).sqrt()
    return torch.cat([means.flatten(1), contrasts.flatten(1)], dim=1)


def _width(labels: Tensor) -> int:
    return labels.shape[1] if labels.ndim == 2 else min(int(labels.max()) + 1, WIDEST)


def _columns(labels: Tensor, width: int) -> Tensor:
    """Class indices (B,), or columns (B, K) as they are → float (B, width)."""
    if labels.ndim == 2:
        return labels.float()
    return F.one_hot(labels.long() % width, width).float()
