"""What a batch may hold: the part of the contract of methods that values must keep.

Labels and weights are read on a CPU only: reading those on an accelerator would wait for it in
every step. Datasets are checked once, before their values are moved there. Images that are not
finite make a loss that is not, for which the trainer has a setting.
"""

import math
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from vitrail.errors import ConfigError, DataError, describe_value
from vitrail.methods import distributed
from vitrail.ops.operator import is_transformed

if TYPE_CHECKING:
    from vitrail.methods.base import Batch, Method
    from vitrail.models.base import Backbone

Target = Literal["class", "labels", "numbers"]
# The axes that fields have whatever the method.
AXES = {"weights": ("samples",), "features": ("samples", "width"),
        "patch_mask": ("samples", "patches")}  # fmt: skip
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
WIDE = (torch.uint16, torch.uint32, torch.uint64)
ROUNDING = 0.01  # of sums of probabilities in half precision


def check_batch(method: "Method", batch: "Batch") -> None:
    """Checks that a method can learn from a batch.

    Args:
        method: the method.
        batch: what its forward gets.

    Raises:
        DataError: fields are of different numbers of samples or of too few, of other axes or on
            different devices, the mask is not bool, the method does not weigh samples or mask
            patches, or a value on the CPU is none that its field may hold.

    Example:
        >>> from vitrail.methods.base import Batch, Method
        >>> method = Method(vitrail.ViT(8, 4, 5, 8, 1, 2, 8))
        >>> check_batch(method, Batch(images=torch.zeros(0, 3, 8, 8)))
        Traceback (most recent call last):
        vitrail.errors.DataError: the batch holds images of 0 samples: give at least 1.
    """
    _check_counts(method, batch)
    _check_devices(batch)
    for name, axes in AXES.items():
        value = getattr(batch, name)
        if value is not None and value.ndim != len(axes):
            raise DataError(
                f"{name} of shape {tuple(value.shape)} are not ({', '.join(axes)}): reshape them."
            )
    _check_mask(method, batch)
    if batch.features is not None and batch.features.is_complex():
        raise DataError("features are complex, and a linear layer reads real ones: take .abs().")
    if batch.features is not None and "features" in method.inputs:
        width = method.backbone.pooled_dim
        if batch.features.shape[1] != width:
            raise DataError(
                f"features of width {batch.features.shape[1]} do not fit this "
                f"{type(method.backbone).__name__}, whose features have {width}: compute them with "
                "the same model."
            )
    if batch.weights is not None and not method.weighs_samples:
        raise DataError(
            f"{type(method).__name__} does not weigh samples: leave the weights out of the batch."
        )
    labels = batch.labels if "labels" in method.inputs else None
    check_label_values(labels, batch.weights, method.target)


def _check_devices(batch: "Batch") -> None:
    """Refuses fields on different devices."""
    devices = {
        name: str((batch.crops[0] if name == "crops" else batch[name]).device)
        for name in batch.names()
    }
    first = next(iter(devices), "")
    for name, device in devices.items():
        if device != devices[first]:
            raise DataError(
                f"the batch holds {first} on {devices[first]} and {name} on {device}: move all by "
                f"batch.to({devices[first]!r})."
            )


def _check_mask(method: "Method", batch: "Batch") -> None:
    """Refuses a mask that is none, or that the method would not read."""
    if batch.patch_mask is None:
        return
    if batch.patch_mask.dtype != torch.bool:
        raise DataError(
            f"patch_mask of {batch.patch_mask.dtype} is no mask: give bool, True where a patch is "
            "masked."
        )
    if "patch_mask" not in method.inputs and not hasattr(method, "sample_mask"):
        raise DataError(f"{type(method).__name__} masks nothing: leave the patch_mask out.")


def check_mask_shape(mask: Tensor, rows: int, grid: tuple[int, ...]) -> None:
    """Checks that a mask has a row for each image and an entry for each patch.

    Args:
        mask: bool (B, N), True where masked.
        rows: number of images B.
        grid: patches per axis.

    Raises:
        DataError: it has not.

    Example:
        >>> check_mask_shape(torch.zeros(2, 16, dtype=torch.bool), 2, (4, 4))
    """
    if mask.shape != (rows, math.prod(grid)):
        raise DataError(
            f"patch_mask of shape {tuple(mask.shape)} does not fit {rows} images on a grid of "
            f"{' x '.join(map(str, grid))} patches: give ({rows}, {math.prod(grid)})."
        )


def check_image_size(backbone: "Backbone", images: Tensor) -> None:
    """Checks that images have the size of the model, whose cells a mask names.

    Args:
        backbone: the model.
        images: (B, C, *size).

    Raises:
        DataError: they have another.

    Example:
        >>> check_image_size(vitrail.ViT(8, 4, 5, 8, 1, 2, 8), torch.zeros(1, 3, 8, 8))
    """
    if (size := tuple(images.shape[2:])) != backbone.image_size:
        raise DataError(
            f"images of {size} pixels do not fit masks for {backbone.image_size}: resize the "
            "images, or build the model with their image_size."
        )


def check_codes(codes: object, grid: tuple[int, ...], vocabulary: int) -> None:
    """Checks the codes of cells, those of an accelerator not by their values.

    Args:
        codes: what a tokenizer of images gives.
        grid: cells per axis.
        vocabulary: number of codes.

    Raises:
        DataError: they are not a tensor of whole numbers (B, N) below `vocabulary`.

    Example:
        >>> check_codes(torch.tensor([[0, 7]]), (2,), 8)
    """
    if not isinstance(codes, Tensor) or codes.dtype not in INTEGERS:
        kind = getattr(codes, "dtype", type(codes).__name__)
        raise DataError(f"codes of type {kind} are no codes: give a tensor of whole numbers.")
    if codes.ndim != 2 or not len(codes) or codes.shape[1] != math.prod(grid):
        raise DataError(
            f"codes of shape {tuple(codes.shape)} do not fit a grid of "
            f"{' x '.join(map(str, grid))} cells: give (batch, {math.prod(grid)})."
        )
    low, high = _limits("codes", codes)
    if low < 0 or high >= vocabulary:
        raise DataError(
            f"code {low if low < 0 else high:g} is none of the {vocabulary}, 0 to "
            f"{vocabulary - 1}: set the vocabulary of the tokenizer."
        )


def check_progress(progress: float) -> None:
    """Checks the fraction of all steps that are done.

    Args:
        progress: what `Method.before_step` gets.

    Raises:
        ConfigError: it is none.

    Example:
        >>> check_progress(0.5)
    """
    if not isinstance(progress, int | float) or not 0 <= progress <= 1:
        raise ConfigError(
            f"progress={describe_value(progress)} is no fraction of all steps: give the number of "
            "steps done by that of all, 0 to 1."
        )


def check_targets(method: "Method", targets: Tensor) -> None:
    """Checks the labels of all training samples.

    Args:
        method: the method that learns them.
        targets: class indices (N,); of methods of another `target` (N, K).

    Raises:
        DataError: there are none, they are not as many a sample as the model has outputs, or a
            value is none that a label may have.

    Example:
        >>> from vitrail.methods import Regression
        >>> check_targets(Regression(vitrail.ViT(8, 4, 2, 8, 1, 2, 8)), torch.zeros(9, 1))
        Traceback (most recent call last):
        vitrail.errors.DataError: targets of shape (9, 1) are not (samples, 2): give a sample ...
    """
    if not isinstance(targets, Tensor):
        raise DataError(
            f"targets of type {type(targets).__name__} are no tensor: give "
            "torch.as_tensor(targets)."
        )
    classes = method.backbone.num_classes
    if method.target == "class":
        is_shaped, shape = targets.ndim == 1, "(samples,)"
    else:
        is_shaped = targets.ndim == 2 and targets.shape[1] == classes
        shape = f"(samples, {classes})"
    if not is_shaped or not len(targets):
        raise DataError(
            f"targets of shape {tuple(targets.shape)} are not {shape}: give a sample or more, "
            "with one for each output."
        )
    check_label_values(targets, None, method.target)


def check_label_values(labels: Tensor | None, weights: Tensor | None, target: Target) -> None:
    """Checks the values of labels and of weights.

    Args:
        labels: what is learned, one sample a row; None for nothing. Class indices are compared
            with the number of classes elsewhere.
        weights: (B,), how much each sample counts; None for all alike.
        target: what a label is, as in `Method`.

    Raises:
        DataError: weights are negative, labels of several labels are not within 0 and 1, class
            probabilities do not sum to 1, or anything is not finite.

    Example:
        >>> check_label_values(None, torch.tensor([1.0, -1.0]), "class")
        Traceback (most recent call last):
        vitrail.errors.DataError: weights hold -1, and no sample counts less than nothing: give ...
    """
    low = _limits("weights", weights)[0]
    if low < 0:
        raise DataError(
            f"weights hold {low:g}, and no sample counts less than nothing: give 0 or more."
        )
    if labels is None or labels.ndim < 2 or (target == "class" and labels.shape[1:] == (1,)):
        return  # a column of class indices has another shape than it needs, not other values
    low, high = _limits("labels", labels)
    if target == "numbers":
        return
    if low < 0 or high > 1:
        kind = "class probabilities" if target == "class" else "0, 1 or a probability"
        raise DataError(
            f"labels hold {low if low < 0 else high:g}, and a label of each sample is {kind}: give "
            "what is within 0 and 1."
        )
    if target == "class" and labels.ndim == 2 and is_read(labels):
        low, high = _limits("labels", labels.float().sum(1))
        worst = low if 1 - low > high - 1 else high
        if abs(worst - 1) > ROUNDING:
            raise DataError(
                f"class probabilities of a sample sum to {worst:g}, not to 1: divide them by their "
                "sum, or learn several labels by MultiLabel."
            )


def _check_counts(method: "Method", batch: "Batch") -> None:
    """Refuses fields of different numbers of samples, and of too few."""
    counts = [
        (name, len(value))
        for name in batch.names()
        for value in (batch.crops if name == "crops" else (batch[name],))
    ]
    for name, count in counts:
        is_of_crops = name == "patch_mask" and batch.crops  # a mask a global crop
        if count != counts[0][1] and not is_of_crops:
            raise DataError(
                f"the batch holds {counts[0][0]} of {counts[0][1]} samples and {name} of {count}: "
                "give as many of each."
            )
    if counts and counts[0][1] * distributed.world_size() < method.smallest_batch:
        raise DataError(
            f"the batch holds {counts[0][0]} of {counts[0][1]} samples: give at least "
            f"{method.smallest_batch}."
        )


def is_read(values: Tensor | None) -> bool:
    """Whether there are values to look at, without waiting for them.

    Args:
        values: of any shape, or None.

    Returns:
        False for values of an accelerator, and where a program is compiled or exported.

    Example:
        >>> is_read(torch.zeros(1)), is_read(torch.zeros(0)), is_read(None)
        (True, False, False)
    """
    if torch.compiler.is_compiling() or is_transformed():
        return False
    return values is not None and bool(values.numel()) and values.is_cpu and not values.is_complex()


def require_finite(name: str, values: Tensor) -> None:
    """Checks that numbers of a batch, or made of it, are finite.

    Args:
        name: what they are, for the error.
        values: of any shape; those of an accelerator are not read.

    Raises:
        DataError: one is not.

    Example:
        >>> require_finite("images", torch.zeros(1))
    """
    # A sum is the fastest to compute, and finite of finite numbers unless it overflows.
    if is_read(values) and not math.isfinite(float(values.detach().sum())):
        _limits(name, values)


def _limits(name: str, values: Tensor | None) -> tuple[float, float]:
    """The least and the greatest value, 0 and 0 where none is read; refuses what is not finite."""
    if values is None or not is_read(values):
        return 0.0, 0.0
    if values.dtype in WIDE:
        values = values.long()  # PyTorch compares no others of these
    limits = [float(limit) for limit in values.detach().aminmax()]
    for limit in limits:
        if not math.isfinite(limit):
            raise DataError(
                f"{name} hold {limit:g}, and a loss needs finite numbers: leave such samples out."
            )
    return limits[0], limits[1]
