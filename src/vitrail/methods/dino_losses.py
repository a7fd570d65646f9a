"""The centering of DINO's teacher, and the cross-entropies between crops and between regions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.errors import DataError
from vitrail.layers.tokens import take
from vitrail.methods import distributed
from vitrail.ops.guard import guarded
from vitrail.values import Fraction, PositiveFloat, PositiveInt


class Center(nn.Module):
    """DINO's centering: subtracts the EMA of the mean logits over all processes.

    Args:
        dim: number K of prototypes.
        momentum: momentum of the EMA.

    Example:
        >>> center = Center(2, momentum=0.5)
        >>> center(torch.tensor([[0.0, 4.0]]), temperature=1.0).shape, center.value
        (torch.Size([1, 2]), tensor([0., 2.]))
    """

    value: Tensor

    @guarded
    def __init__(self, dim: PositiveInt, momentum: Fraction) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("value", torch.zeros(dim))

    @guarded
    @torch.no_grad()
    def forward(self, logits: Tensor, temperature: PositiveFloat) -> Tensor:
        """logits (..., K), temperature → probabilities (..., K). In training, the center moves."""
        if logits.shape[-1:] != self.value.shape or not logits.numel():
            raise DataError(
                f"logits of shape {tuple(logits.shape)} are not (..., {len(self.value)}), which "
                "this center is of: give one or more rows of them."
            )
        probs = (logits - self.value).div_(temperature).softmax(-1)
        if self.training:
            mean = distributed.mean(logits.flatten(0, -2).mean(0))
            self.value.lerp_(mean.to(self.value), 1 - self.momentum)
        return probs


@guarded
def crop_cross_entropy(logits: Tensor, teacher_probs: Tensor) -> Tensor:
    """DINO's loss over all pairs of a teacher's crop and another crop of the student.

    Args:
        logits: (V, B, K), the student's for all V crops, global ones first.
        teacher_probs: (G, B, K), the teacher's for the first G crops.

    Returns:
        The mean over images and pairs, ().

    Raises:
        DataError: there is no pair.

    Example:
        >>> crop_cross_entropy(torch.zeros(3, 2, 4), torch.full((2, 2, 4), 0.25))
        tensor(1.3863)
    """
    crops, batch = logits.shape[:2]
    if not batch or crops < 2 or not 1 <= len(teacher_probs) <= crops:
        raise DataError(
            f"{crops} crops of the student, {len(teacher_probs)} of the teacher and {batch} images "
            "have no pair to compare: give two crops or more, the teacher's among them."
        )
    log_probs = logits.log_softmax(-1).flatten(1)
    with torch.autocast(logits.device.type, enabled=False):
        pairs = teacher_probs.flatten(1) @ log_probs.T  # (G, V)
    return -(pairs.sum() - pairs.trace()) / (len(teacher_probs) * (crops - 1) * batch)


@guarded
def region_cross_entropy(
    logits: Tensor, patches: Tensor, teacher_probs: Tensor, teacher_patches: Tensor
) -> Tensor:
    """EsViT's loss of two crops: each patch has the output of the teacher's most similar patch.

    Args:
        logits: (B, N, K), the student's.
        patches: (B, N, D), features that the logits are of.
        teacher_probs: (B, M, K).
        teacher_patches: (B, M, D), compared with `patches` by their cosines.

    Returns:
        The mean over images and patches, ().

    Example:
        >>> patches = torch.randn(2, 5, 8)
        >>> probs = torch.full((2, 3, 4), 0.25)
        >>> region_cross_entropy(torch.zeros(2, 5, 4), patches, probs, patches[:, :3])
        tensor(1.3863)
    """
    with torch.no_grad():
        student, teacher = (F.normalize(x, dim=-1) for x in (patches, teacher_patches))
        matched = take(teacher_probs, (student @ teacher.transpose(1, 2)).argmax(dim=-1))
    return -(matched * logits.log_softmax(-1)).sum(-1).mean()
