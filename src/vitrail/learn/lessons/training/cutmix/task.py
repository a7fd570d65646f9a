"""`mix` of `data/functional.py` pastes the reversed batch; the loss is that of soft targets."""

import math

import torch
import torch.nn.functional as F

from vitrail.learn import Case, Claim, Task


def model(images):
    """Three logits of an image, not linear in it."""
    features = images.flatten(1)
    weights = torch.linspace(
        -1, 1, 3 * features.shape[1], dtype=features.dtype, device=features.device
    )
    return torch.tanh(features @ weights.view(-1, 3)) * 2


def batch(count: int, size: tuple[int, int], share: float, centre: tuple[float, float]):
    def draw():
        images, partner = torch.randn(count, 2, *size), torch.randperm(count).roll(1)
        return model, images, torch.arange(count) % 3, partner, share, centre

    return draw


def reference(model, images, labels, partner, share, centre):
    inside = torch.ones(images.shape[-2:], dtype=torch.bool, device=images.device)
    for axis, part in enumerate(centre):
        count = images.shape[axis - 2]
        half = math.sqrt(1 - share) / 2
        index = torch.arange(count, device=images.device)
        along = (index >= round(count * (part - half))) & (index < round(count * (part + half)))
        inside = inside & along.unsqueeze(1 - axis)
    mixed = torch.where(inside, images[partner], images)
    kept = 1 - inside.to(images.dtype).mean()
    targets = F.one_hot(labels, 3).to(images.dtype)
    targets = targets * kept + targets[partner] * (1 - kept)
    return mixed, -(targets * model(mixed).log_softmax(dim=1)).sum(dim=1).mean()


def runs(cutmix_loss):
    """How often the model is called."""
    calls = []

    def counted(images):
        calls.append(len(images))
        return model(images)

    cutmix_loss(counted, *batch(4, (6, 6), 0.7, (0.5, 0.5))()[1:])
    return len(calls)


TASK = Task(
    subject="cutmix_loss",
    cases=(
        Case("8 x 16, share 0.7, near the upper right", batch(5, (8, 16), 0.7, (0.2, 0.9))),
        Case("12 x 8, share 0.4, near the lower left", batch(4, (12, 8), 0.4, (0.8, 0.15))),
        Case("10 x 10, share 0.75, in the middle", batch(3, (10, 10), 0.75, (0.5, 0.4))),
        Case("share 1: nothing is pasted", batch(2, (4, 4), 1.0, (0.5, 0.5))),
    ),
    reference=reference,
    claims=(Claim("The model runs once per batch.", "每个 batch 只运行一次模型。", runs),),
)
