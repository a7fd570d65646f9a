"""Labels that fit the outputs that learn from them, or one line that says why not."""

import torch
from torch import Tensor

from vitrail.errors import ConfigError, DataError
from vitrail.methods.batch_checks import is_read


def require_outputs(classes: int) -> None:
    """Checks that a model has outputs to learn labels with.

    Args:
        classes: its `num_classes`.

    Raises:
        ConfigError: it has none, and would learn with its features.

    Example:
        >>> require_outputs(2)
    """
    if not classes:
        raise ConfigError(
            "the model has num_classes=0, so that no head learns the labels: give it their number, "
            "as by model.reset_head(10)."
        )


def require_samples(outputs: Tensor) -> None:
    """Checks that outputs are a row for each of one or more samples: a mean of none is no number.

    Args:
        outputs: (B, K).

    Raises:
        DataError: they are not.

    Example:
        >>> require_samples(torch.zeros(1, 2))
    """
    if outputs.ndim != 2 or 0 in outputs.shape:
        raise DataError(
            f"outputs of shape {tuple(outputs.shape)} are not (samples, outputs), one or more of "
            "each: give those of a batch."
        )


def require_weights(weights: Tensor | None, samples: int) -> None:
    """Checks that there is a weight for each sample.

    Args:
        weights: (B,), how much each sample counts; None for all alike.
        samples: number of samples B.

    Raises:
        DataError: there is not.

    Example:
        >>> require_weights(torch.ones(2), 2)
    """
    if weights is not None and weights.shape != (samples,):
        raise DataError(
            f"weights of shape {tuple(weights.shape)} do not fit {samples} samples: give "
            f"({samples},), one for each."
        )


def class_targets(labels: Tensor, logits: Tensor) -> Tensor:
    """Labels as the cross-entropy takes them.

    Args:
        labels: class indices (B,) of any integer type, or class probabilities (B, classes).
        logits: (B, classes).

    Returns:
        int64 class indices, or the probabilities.

    Raises:
        DataError: they are not as many as the logits, no indices, or an index is no class. Indices
            on an accelerator are not read, which would wait for it.

    Example:
        >>> class_targets(torch.tensor([0, 1], dtype=torch.uint8), torch.zeros(2, 3))
        tensor([0, 1])
    """
    require_samples(logits)
    batch, classes = logits.shape
    if labels.ndim != 1:
        if labels.shape != logits.shape:
            raise DataError(
                f"labels of shape {tuple(labels.shape)} do not fit {batch} samples of {classes} "
                f"classes: give class indices ({batch},), or probabilities ({batch}, {classes})."
            )
        return labels.to(logits)
    if len(labels) != batch:
        raise DataError(f"{len(labels)} labels do not fit {batch} samples: give each sample one.")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise DataError(
            f"labels of {labels.dtype} are no class indices: give labels.long(), or probabilities "
            f"(B, {classes})."
        )
    labels = labels.long()
    if is_read(labels):
        worst = next((i for i in map(int, labels.aminmax()) if not 0 <= i < classes), None)
        if worst is not None:
            raise DataError(
                f"label {worst} is not within 0 to {classes - 1}, the classes of the model: give "
                "it more by model.reset_head, or number the classes from 0."
            )
    return labels


def standardization(targets: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """What numbers are standardized by.

    Args:
        targets: (N, K) of all training samples.
        like: a tensor of the type of the results.

    Returns:
        The mean and the standard deviation (K,) of each number, 1 for a constant one.

    Raises:
        DataError: there are none, or they are too large for that type.

    Example:
        >>> standardization(torch.tensor([[1.0], [3.0]]), torch.zeros(1))
        (tensor([2.]), tensor([1.]))
    """
    require_samples(targets)
    std, mean = torch.std_mean(targets.double(), dim=0, correction=0)
    std, mean = std.where(std > 0, 1.0).to(like), mean.to(like)
    if not bool((std.isfinite() & mean.isfinite()).all()):
        raise DataError(
            f"numbers as large as {float(targets.abs().max()):g} do not fit {like.dtype}: give "
            "them in a larger unit."
        )
    return mean, std


def standardized(labels: Tensor, outputs: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Numbers less their mean, by their standard deviation.

    Args:
        labels: (B, K).
        outputs: (B, K), what learns them.
        mean: (K,).
        std: (K,).

    Returns:
        (B, K), in the type of the outputs.

    Raises:
        DataError: the labels do not fit the outputs.
        ConfigError: the model has another number of outputs than when its method was made.

    Example:
        >>> one = torch.ones(1)
        >>> standardized(torch.tensor([[5.0]]), torch.zeros(1, 1), one, 2 * one)
        tensor([[2.]])
    """
    truth = row_targets(labels, outputs)
    if mean.shape != truth.shape[1:]:
        raise ConfigError(
            f"the model has {truth.shape[1]} outputs, and had {len(mean)} when its method was "
            "made: make the method after model.reset_head."
        )
    return (truth - mean) / std


def row_targets(labels: Tensor, outputs: Tensor) -> Tensor:
    """Labels of as many entries as a sample has outputs.

    Args:
        labels: (B, K).
        outputs: (B, K).

    Returns:
        The labels in the type of the outputs.

    Raises:
        DataError: their shapes differ, so that one would be repeated to fit the other.

    Example:
        >>> row_targets(torch.tensor([[1, 0]]), torch.zeros(1, 2))
        tensor([[1., 0.]])
    """
    require_samples(outputs)
    if labels.shape != outputs.shape:
        raise DataError(
            f"labels of shape {tuple(labels.shape)} do not fit outputs of shape "
            f"{tuple(outputs.shape)}: give the model as many outputs as a sample has entries."
        )
    return labels.to(outputs)
