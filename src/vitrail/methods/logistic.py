"""Logistic regression: a linear classifier of frozen features, fitted to its optimum."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.errors import ConfigError

# Penalties that are tried, strongest first: factors on ‖W‖² / 2 beside the mean cross-entropy.
# scikit-learn's C is 1 / (penalty · images).
PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


class LogisticFit(NamedTuple):
    """A linear classifier of features.

    Args:
        weight: (classes, D).
        bias: (classes,).
        penalty: factor on ‖W‖² / 2 that it was fitted with.

    Example:
        >>> LogisticFit(torch.eye(2), torch.zeros(2), 0.1)(torch.ones(1, 2))
        tensor([[1., 1.]])
    """

    weight: Tensor
    bias: Tensor
    penalty: float

    def __call__(self, features: Tensor) -> Tensor:
        """features (N, D) → logits (N, classes)."""
        return F.linear(widen(features), self.weight, self.bias)


def logistic_regression(
    bank: Tensor,
    labels: Tensor,
    queries: Tensor,
    classes: int,
    penalty: float | None = None,
) -> Tensor:
    """Classifies features by `fit_logistic` on labelled ones.

    Args:
        bank: labelled features (M, D).
        labels: class indices (M,).
        queries: features (N, D) to classify.
        classes: number of classes.
        penalty: as in `fit_logistic`.

    Returns:
        Logits (N, classes).

    Example:
        >>> bank = torch.eye(2).repeat(4, 1)
        >>> logistic_regression(bank, torch.arange(8) % 2, bank[:2], 2).argmax(1)
        tensor([0, 1])
    """
    return fit_logistic(bank, labels, classes, penalty)(queries)


@torch.inference_mode(False)  # features may have been computed in it
@torch.enable_grad()
def fit_logistic(
    bank: Tensor, labels: Tensor, classes: int, penalty: float | None = None
) -> LogisticFit:
    """Multinomial logistic regression.

    Features are standardized by the bank. L-BFGS minimizes the mean cross-entropy plus
    penalty · ‖W‖² / 2.

    Args:
        bank: features (M, D).
        labels: class indices (M,).
        classes: number of classes.
        penalty: strength of the penalty; None for the one of `PENALTIES` with the least
            cross-entropy on held-out images, every fifth of each class. The classifier is then
            fitted on all images. Accuracy on a few hundred images is too coarse to select by.

    Returns:
        The classifier of features that are not standardized.

    Example:
        >>> bank = torch.eye(2).repeat(4, 1)
        >>> fit_logistic(bank, torch.arange(8) % 2, 2).weight.shape
        torch.Size([2, 2])
    """
    check_bank(bank, labels, bank)
    std, mean = torch.std_mean(widen(bank), dim=0, correction=0)
    std = torch.where(std > 0, std, 1)  # a constant feature carries no information
    features, labels = (widen(bank) - mean) / std, labels.clone()
    penalty = _best_penalty(features, labels, classes) if penalty is None else penalty
    weight = _minimize(features, labels, features.new_zeros(classes, bank.shape[1] + 1), penalty)
    weight, bias = weight[:, :-1] / std, weight[:, -1]
    return LogisticFit(weight, bias - weight @ mean, penalty)


def _best_penalty(features: Tensor, labels: Tensor, classes: int) -> float:
    """The best of PENALTIES on held-out images; each search starts where the last one ended."""
    validation = torch.zeros_like(labels, dtype=torch.bool)
    for label in labels.unique():
        validation[(labels == label).nonzero().flatten()[1::5]] = True
    if not validation.any():  # one image per class
        return PENALTIES[len(PENALTIES) // 2]
    weight = features.new_zeros(classes, features.shape[1] + 1)
    best, least = PENALTIES[0], float("inf")
    for penalty in PENALTIES:
        weight = _minimize(features[~validation], labels[~validation], weight, penalty)
        logits = F.linear(features[validation], weight[:, :-1], weight[:, -1])
        loss = F.cross_entropy(logits, labels[validation]).item()
        if loss > least:  # weaker penalties only overfit more, and take longer
            break
        best, least = penalty, loss
    return best


def _minimize(features: Tensor, labels: Tensor, start: Tensor, penalty: float) -> Tensor:
    """(classes, D + 1), the last column the bias, which is not penalized."""
    weight = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weight],
        max_iter=500,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        logits = F.linear(features, weight[:, :-1], weight[:, -1])
        loss = F.cross_entropy(logits, labels) + penalty / 2 * weight[:, :-1].square().sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    return weight.detach()


def widen(features: Tensor) -> Tensor:
    """Half-precision features in float32; others as they are.

    Args:
        features: (N, D).

    Returns:
        (N, D).

    Example:
        >>> widen(torch.zeros(1, 1, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return features.float() if features.dtype in (torch.float16, torch.bfloat16) else features


def check_bank(bank: Tensor, labels: Tensor, queries: Tensor) -> None:
    """Checks that labelled features and queries fit each other.

    Args:
        bank: labelled features (M, D).
        labels: class indices (M,).
        queries: features (N, D).

    Raises:
        ConfigError: they do not.

    Example:
        >>> check_bank(torch.zeros(3, 2), torch.zeros(3), torch.zeros(5, 2))
    """
    if bank.ndim != 2 or queries.ndim != 2 or bank.shape[1] != queries.shape[1] or not len(bank):
        raise ConfigError(
            f"a bank {tuple(bank.shape)} cannot classify queries {tuple(queries.shape)}: both are "
            "(images, D), and the bank is not empty."
        )
    if labels.shape != bank.shape[:1]:
        raise ConfigError(
            f"{len(bank)} features have labels of shape {tuple(labels.shape)}: give one each."
        )
