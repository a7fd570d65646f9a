"""How good frozen features are, by the simplest classifiers on them: neighbours, and one layer."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitrail.errors import ConfigError, check_range

CHUNK = 2**24  # similarities at a time: 64 MiB in float32

# Strengths of the penalty that `linear` tries, strongest first: factors on ‖W‖² / 2 beside the mean
# cross-entropy. scikit-learn's C is 1 / (strength · images).
STRENGTHS = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


def knn(
    bank: Tensor,
    labels: Tensor,
    queries: Tensor,
    classes: int,
    k: int = 20,
    temperature: float = 0.07,
) -> Tensor:
    """Classes of `queries` (N, D) by their neighbours in a `bank` (M, D) → (N, classes), sums of 1.

    The k nearest by cosine, of which there are at most M, vote for their labels (M,), each with
    the weight exp(cosine / temperature): Wu et al. 2018, https://arxiv.org/abs/1805.01978.
    """
    _check(bank, labels, queries)
    check_range("k", k, 1)
    if not temperature > 0:
        raise ConfigError(f"temperature={temperature!r} is not above 0: try 0.07.")
    bank, queries = F.normalize(_wide(bank), dim=1), F.normalize(_wide(queries), dim=1)
    found = []
    for part in queries.split(max(1, CHUNK // len(bank))):
        nearest = (part @ bank.T).topk(min(k, len(bank)), dim=1)
        votes = (nearest.values / temperature).softmax(dim=1)
        tally = votes.new_zeros(len(part), classes)
        found.append(tally.scatter_add_(1, labels[nearest.indices], votes))
    return torch.cat(found)


class Fit(NamedTuple):
    """A linear classifier of bare features."""

    weight: Tensor  # (classes, D)
    bias: Tensor  # (classes,)
    strength: float  # of the penalty it was found with

    def __call__(self, features: Tensor) -> Tensor:
        """features (N, D) → logits (N, classes)."""
        return F.linear(_wide(features), self.weight, self.bias)


def linear(
    bank: Tensor,
    labels: Tensor,
    queries: Tensor,
    classes: int,
    strength: float | None = None,
) -> Tensor:
    """Logits (N, classes) of `queries` (N, D), by the classifier that `fit` finds on the bank."""
    return fit(bank, labels, classes, strength)(queries)


@torch.inference_mode(False)  # features may have been computed in it
@torch.enable_grad()
def fit(bank: Tensor, labels: Tensor, classes: int, strength: float | None = None) -> Fit:
    """Multinomial logistic regression of labels (M,) on a bank (M, D) of features.

    Features are standardised by the bank; the mean cross-entropy plus strength · ‖W‖² / 2 goes to
    its minimum by L-BFGS. `strength` None: the one of `STRENGTHS` with the least cross-entropy on
    images held out, the second of every five of each class; then all of the bank is used. Of a few
    hundred images, how many are right says too little to choose by.
    """
    _check(bank, labels, bank)
    std, mean = torch.std_mean(_wide(bank), dim=0, correction=0)
    std = torch.where(std > 0, std, 1)  # a feature that never changes says nothing
    features, labels = (_wide(bank) - mean) / std, labels.clone()
    strength = _choose(features, labels, classes) if strength is None else strength
    weight = _minimise(features, labels, features.new_zeros(classes, bank.shape[1] + 1), strength)
    weight, bias = weight[:, :-1] / std, weight[:, -1]
    return Fit(weight, bias - weight @ mean, strength)


def _choose(features: Tensor, labels: Tensor, classes: int) -> float:
    """The best of STRENGTHS on held-out images; each search starts where the last one ended."""
    held = torch.zeros_like(labels, dtype=torch.bool)
    for label in labels.unique():
        held[(labels == label).nonzero().flatten()[1::5]] = True
    if not held.any():  # one image a class: nothing to choose by
        return STRENGTHS[len(STRENGTHS) // 2]
    weight = features.new_zeros(classes, features.shape[1] + 1)
    best, least = STRENGTHS[0], float("inf")
    for strength in STRENGTHS:
        weight = _minimise(features[~held], labels[~held], weight, strength)
        logits = F.linear(features[held], weight[:, :-1], weight[:, -1])
        loss = F.cross_entropy(logits, labels[held]).item()
        if loss > least:  # weaker ones only learn more by heart, and take longer
            break
        best, least = strength, loss
    return best


def _minimise(features: Tensor, labels: Tensor, start: Tensor, strength: float) -> Tensor:
    """(classes, D + 1), the last column the bias, which is not penalised."""
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
        loss = F.cross_entropy(logits, labels) + strength / 2 * weight[:, :-1].square().sum()
        loss.backward()
        return loss

    optimizer.step(objective)
    return weight.detach()


def _wide(features: Tensor) -> Tensor:
    return features.float() if features.dtype in (torch.float16, torch.bfloat16) else features


def _check(bank: Tensor, labels: Tensor, queries: Tensor) -> None:
    if bank.ndim != 2 or queries.ndim != 2 or bank.shape[1] != queries.shape[1] or not len(bank):
        raise ConfigError(
            f"a bank {tuple(bank.shape)} cannot judge queries {tuple(queries.shape)}: "
            "both are (images, D), and the bank is not empty."
        )
    if labels.shape != bank.shape[:1]:
        raise ConfigError(f"{len(bank)} features have {tuple(labels.shape)} labels: one each.")
