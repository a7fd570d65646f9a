"""k-NN: classification of features by the labels of their nearest neighbors."""

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.arguments import checked
from vitrail.errors import ConfigError, check_range
from vitrail.methods.batch_checks import require_finite
from vitrail.methods.logistic import check_bank, widen
from vitrail.methods.targets import class_targets
from vitrail.values import PositiveInt

CHUNK = 2**24  # similarities at a time: 64 MiB in float32


@checked
def knn(
    bank: Tensor,
    labels: Tensor,
    queries: Tensor,
    classes: PositiveInt,
    k: int = 20,
    temperature: float = 0.07,
) -> Tensor:
    """Weighted k-NN (Wu et al. 2018, https://arxiv.org/abs/1805.01978).

    The k nearest entries of the bank by cosine vote for their labels, each with the weight
    exp(cosine / temperature).

    Args:
        bank: labelled features (M, D).
        labels: class indices (M,).
        queries: features (N, D) to classify.
        classes: number of classes.
        k: number of neighbors, at most M.
        temperature: of the weights.

    Returns:
        Fractions of the votes (N, classes), which sum to 1.

    Raises:
        ConfigError: shapes do not fit, or k or the temperature is not positive.
        DataError: a label is no class, or a feature is not finite.

    Example:
        >>> bank = torch.eye(2)
        >>> knn(bank, torch.tensor([1, 0]), bank, classes=2, k=1)
        tensor([[0., 1.],
                [1., 0.]])
    """
    check_bank(bank, labels, queries)
    if labels.ndim != 1:
        raise ConfigError(
            f"labels of shape {tuple(labels.shape)} are no class indices ({len(bank)},): several "
            "labels of a sample have no k-NN here."
        )
    labels = class_targets(labels, bank.new_empty(len(bank), classes))
    check_range("k", k, 1)
    if not temperature > 0:
        raise ConfigError(f"temperature={temperature!r} is not above 0: try 0.07.")
    require_finite("features", bank)
    require_finite("queries", queries)
    bank = F.normalize(widen(bank), dim=1)
    queries = F.normalize(queries.to(bank), dim=1)
    fractions = []
    for chunk in queries.split(chunk_rows(bank)):
        nearest = (chunk @ bank.T).topk(min(k, len(bank)), dim=1)
        votes = (nearest.values / temperature).softmax(dim=1)
        sums = votes.new_zeros(len(chunk), classes)
        fractions.append(sums.scatter_add_(1, labels[nearest.indices], votes))
    return torch.cat(fractions)


def chunk_rows(bank: Tensor) -> int:
    """How many queries are compared with a bank at a time.

    Args:
        bank: labelled features (M, D).

    Returns:
        A number of rows.

    Example:
        >>> chunk_rows(torch.zeros(2**20, 1))
        16
    """
    return max(1, CHUNK // len(bank))
