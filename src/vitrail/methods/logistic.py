"""Logistic and ridge regression: linear layers on frozen features, fitted to their optimum."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.arguments import checked
from vitrail.errors import ConfigError
from vitrail.methods.batch_checks import require_finite
from vitrail.methods.targets import class_targets, row_targets
from vitrail.ops.guard import guarded
from vitrail.values import PositiveFloat, PositiveInt

# Penalties that are tried, strongest first: factors on ‖W‖² / 2 beside the mean cross-entropy.
# scikit-learn's C is 1 / (penalty · images).
PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
RIDGE_PENALTIES = tuple(10.0**power for power in range(4, -5, -1))  # scikit-learn's alpha / images


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

    Raises:
        ConfigError: shapes do not fit, or the penalty is not positive.
        DataError: a label is no class, or a feature is not finite.

    Example:
        >>> bank = torch.eye(2).repeat(4, 1)
        >>> logistic_regression(bank, torch.arange(8) % 2, bank[:2], 2).argmax(1)
        tensor([0, 1])
    """
    check_bank(bank, labels, queries)
    return fit_logistic(bank, labels, classes, penalty)(queries)


@checked
@torch.inference_mode(False)  # features may have been computed in it
@torch.enable_grad()
def fit_logistic(
    bank: Tensor, labels: Tensor, classes: PositiveInt, penalty: PositiveFloat | None = None
) -> LogisticFit:
    """Multinomial logistic regression, or a logistic regression for each of several labels.

    Features are standardized by the bank. L-BFGS minimizes the mean cross-entropy, the sum over
    several labels, plus penalty · ‖W‖² / 2.

    Args:
        bank: features (M, D).
        labels: class indices (M,), or 0 and 1 for each label (M, classes).
        classes: number of classes or labels.
        penalty: strength of the penalty; None for the one of `PENALTIES` with the least
            cross-entropy on held-out images, every fifth of each class. The classifier is then
            fitted on all images. Accuracy on a few hundred images is too coarse to select by.

    Returns:
        The classifier of features that are not standardized.

    Raises:
        ConfigError: shapes do not fit, or the penalty is not positive.
        DataError: a label is no class, or a feature is not finite.

    Example:
        >>> bank = torch.eye(2).repeat(4, 1)
        >>> fit_logistic(bank, torch.arange(8) % 2, 2).weight.shape
        torch.Size([2, 2])
    """
    check_bank(bank, labels, bank)
    require_finite("features", bank)
    outputs = bank.new_empty(len(bank), classes)
    labels = class_targets(labels, outputs) if labels.ndim == 1 else row_targets(labels, outputs)
    std, mean = torch.std_mean(widen(bank), dim=0, correction=0)
    std = torch.where(std > 0, std, 1)  # a constant feature carries no information
    features, labels = (widen(bank) - mean) / std, labels.clone()
    penalty = _best_penalty(features, labels, classes) if penalty is None else penalty
    weight = _minimize(features, labels, features.new_zeros(classes, bank.shape[1] + 1), penalty)
    weight, bias = weight[:, :-1] / std, weight[:, -1]
    return LogisticFit(weight, bias - weight @ mean, penalty)


def _best_penalty(features: Tensor, labels: Tensor, classes: int) -> float:
    """The best of PENALTIES on held-out images; each search starts where the last one ended."""
    validation = torch.zeros(len(labels), dtype=torch.bool)
    if labels.ndim == 2:  # several labels per image
        validation[1::5] = True
    else:
        for label in labels.unique():
            validation[(labels == label).nonzero().flatten()[1::5]] = True
    if not validation.any():  # one image per class
        return PENALTIES[len(PENALTIES) // 2]
    weight = features.new_zeros(classes, features.shape[1] + 1)
    best, least = PENALTIES[0], float("inf")
    for penalty in PENALTIES:
        weight = _minimize(features[~validation], labels[~validation], weight, penalty)
        logits = F.linear(features[validation], weight[:, :-1], weight[:, -1])
        loss = cross_entropy(logits, labels[validation]).item()
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
        loss = cross_entropy(logits, labels) + penalty / 2 * weight[:, :-1].square().sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    return weight.detach()


@guarded
def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy of classes, or the sum of those of several labels.

    Args:
        logits: (N, classes).
        labels: class indices (N,), or 0 and 1 for each label (N, classes).

    Returns:
        ().

    Example:
        >>> cross_entropy(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
        tensor(1.3863)
    """
    if labels.ndim == 1:
        return F.cross_entropy(logits, labels)
    losses = F.binary_cross_entropy_with_logits(logits, labels.to(logits), reduction="none")
    return losses.sum(1).mean()


class RidgeFit(NamedTuple):
    """A linear layer from features to numbers.

    Args:
        weight: (K, D).
        bias: (K,).
        penalty: factor on ‖W‖² that it was fitted with.
        errors: (M, K), of each image by the layer that is fitted to all others.

    Example:
        >>> RidgeFit._fields
        ('weight', 'bias', 'penalty', 'errors')
    """

    weight: Tensor
    bias: Tensor
    penalty: float
    errors: Tensor


@checked
@torch.inference_mode(False)
@torch.no_grad()
def fit_ridge(bank: Tensor, values: Tensor, penalty: PositiveFloat | None = None) -> RidgeFit:
    """Ridge regression (Hoerl & Kennard 1970, https://doi.org/10.1080/00401706.1970.10488634).

    Features are standardized by the bank. The mean squared error plus penalty · ‖W‖² is minimized.

    Args:
        bank: features (M, D).
        values: numbers (M, K).
        penalty: strength of the penalty; None for the one of `RIDGE_PENALTIES` with the least
            squared error on images that are left out one by one, over the variance of each number.

    Returns:
        The layer of features that are not standardized.

    Raises:
        ConfigError: shapes do not fit, or the penalty is not positive.
        DataError: a feature or a number is not finite.

    Example:
        >>> bank = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
        >>> fit = fit_ridge(bank, 2 * bank + 1)
        >>> fit.weight.item(), fit.bias.item()
        (1.99..., 1.00...)
    """
    check_bank(bank, values, bank)
    values = values if values.ndim == 2 else values[:, None]
    require_finite("features", bank)
    require_finite("values", values)
    bank, values = widen(bank).double(), values.double()
    std, mean = torch.std_mean(bank, dim=0, correction=0)
    std = torch.where(std > 0, std, 1)
    features, centered = (bank - mean) / std, values - values.mean(0)
    scale = centered.square().mean(0).clamp(min=torch.finfo(torch.float32).tiny)
    left, singular, right = torch.linalg.svd(features, full_matrices=False)
    least, best = torch.inf, None
    for strength in RIDGE_PENALTIES if penalty is None else (penalty,):
        shrunk = singular.square() / (singular.square() + strength * len(bank))
        fitted = left @ (shrunk[:, None] * (left.T @ centered))
        leverage = left.square() @ shrunk + 1 / len(bank)  # the mean is fitted too
        errors = (centered - fitted) / (1 - leverage).clamp(min=1e-9)[:, None]
        loss = float((errors.square().mean(0) / scale).mean())
        if best is None or loss < least:
            least, best = loss, (strength, shrunk, errors)
    assert best is not None
    strength, shrunk, errors = best
    factors = shrunk / singular.clamp(min=1e-12)
    weight = (right.T @ (factors[:, None] * (left.T @ centered))).T / std
    bias = values.mean(0) - weight @ mean
    return RidgeFit(weight.float(), bias.float(), strength, errors.float())


def widen(features: Tensor) -> Tensor:
    """Features in half precision or in whole numbers as float32; others as they are.

    Args:
        features: (N, D).

    Returns:
        (N, D).

    Example:
        >>> widen(torch.zeros(1, 1, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return features if features.dtype in (torch.float32, torch.float64) else features.float()


def check_bank(bank: Tensor, labels: Tensor, queries: Tensor) -> None:
    """Checks that labelled features and queries fit each other.

    Args:
        bank: labelled features (M, D).
        labels: class indices (M,), or several labels (M, K).
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
    if labels.ndim not in (1, 2) or labels.shape[:1] != bank.shape[:1]:
        raise ConfigError(
            f"{len(bank)} features have labels of shape {tuple(labels.shape)}: give one each."
        )
