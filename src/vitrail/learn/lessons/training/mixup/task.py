"""The library mixes batches on the device, in `data/`; the loss is that of soft targets."""

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


def batch(count: int, side: int, share: float):
    def draw():
        images = torch.randn(count, 1, side, side)
        return model, images, torch.randint(3, (count,)), torch.randperm(count), share

    return draw


def reference(model, images, labels, partner, share):
    targets = F.one_hot(labels, 3).to(images.dtype)
    targets = targets * share + targets[partner] * (1 - share)
    mixed = torch.lerp(images[partner], images, share)
    return mixed, -(targets * model(mixed).log_softmax(dim=1)).sum(dim=1).mean()


def runs(mixup_loss):
    """How often the model is called."""
    calls = []

    def counted(images):
        calls.append(len(images))
        return model(images)

    _, images, labels, partner, share = batch(4, 2, 0.7)()
    mixup_loss(counted, images, labels, partner, share)
    return len(calls)


TASK = Task(
    subject="mixup_loss",
    cases=(
        Case("B=5, share 0.7", batch(5, 3, 0.7)),
        Case("B=4, share 0.2", batch(4, 4, 0.2)),
        Case("B=2, share 1: nothing is mixed", batch(2, 2, 1.0)),
    ),
    reference=reference,
    claims=(Claim("The model runs once per batch.", "每个 batch 只运行一次模型。", runs),),
)
