"""`Features` of `models/features.py` does the same for any number of axes."""

import torch

from vitrail.learn import Case, Task
from vitrail.models.features import Features


def both(batch: int, channels: int, height: int, width: int):
    return lambda: (
        torch.randn(batch, channels, height, width),
        torch.randn(batch, height * width, channels),
    )


def reference(feature_map, tokens):
    channels_last = feature_map.permute(0, 2, 3, 1)
    grid = tuple(feature_map.shape[2:])
    features = Features(tokens, tokens[:, :0], grid)
    return Features.from_map(channels_last).patches, features.to_map().permute(0, 3, 1, 2)


TASK = Task(
    subject="there_and_back",
    cases=(
        Case("B=2, C=3, 4 x 5", both(2, 3, 4, 5)),
        Case("B=1, C=6, 2 x 3", both(1, 6, 2, 3)),
        Case("B=4, C=4, 2 x 2: all sizes are alike", both(4, 4, 2, 2)),
        Case("B=2, C=1, 3 x 1", both(2, 1, 3, 1)),
    ),
    reference=reference,
)
