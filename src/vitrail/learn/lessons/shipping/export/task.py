"""Traced by torch.fx: torch.export itself takes longer than a check may."""

import torch
from torch import fx

from vitrail.learn import Case, Claim, Task


def images(batch: int, height: int, width: int, brightness: float):
    return lambda: (brightness * torch.rand(batch, 3, height, width),)


def sizes(num_patches: int, patch_size: int, dim: int):
    return {"num_patches": num_patches, "patch_size": patch_size, "dim": dim, "num_classes": 3}


def traced(Classifier):
    """What a graph of the module gives less what the module gives, for several batches; or why
    there is no graph.
    """
    torch.manual_seed(0)
    model = Classifier(4, 4, 8, 3).eval()
    try:
        graph = fx.symbolic_trace(model)
        batches = [torch.rand(count, 3, 8, 8) * 2 for count in (1, 2, 5)]
        return ["a graph", *(graph(batch) - model(batch) for batch in batches)]
    except Exception as error:
        return [f"{type(error).__name__}: {error}".splitlines()[0][:80]]


TASK = Task(
    subject="Classifier",
    cases=(
        Case("B=1, dark", images(1, 8, 8, 0.7), sizes(4, 4, 8)),
        Case("B=3, bright", images(3, 4, 6, 3.0), sizes(6, 2, 6)),
    ),
    claims=(
        Claim(
            "Its forward is a graph that holds for batches of any size: nothing in it depends on "
            "numbers that only Python sees.",
            "它的前向应是一张适用于任意 batch 的计算图，其中不能有只在 Python 里才看得到的数。",
            traced,
            stage="swap",
        ),
    ),
)
