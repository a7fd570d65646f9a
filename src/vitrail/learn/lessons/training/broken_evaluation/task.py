"""`Evaluator` of `train/evaluator.py` adds sums and counts."""

import torch
from torch import nn

from vitrail.learn import Case, Claim, Task


def make_model(norm: bool = False):
    torch.manual_seed(1)
    middle = nn.BatchNorm1d(16) if norm else nn.Dropout(0.6)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), middle, nn.Linear(16, 3)).double()


def batches(*sizes: int):
    return [(torch.randn(n, 4).double(), torch.randint(3, (n,))) for n in sizes]


class Watched(nn.Module):
    """In training mode whenever it is called by the checker; notes whether a graph is kept."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.inside, self.graphs = make_model(norm), set()

    def forward(self, images):
        logits = self.inside(images)
        self.graphs.add(logits.requires_grad)
        return logits


class Dropping(nn.Module):
    """Drops every other hidden unit in training mode."""

    def forward(self, x):
        keep = torch.arange(x.shape[1]) % 2 == 0
        return x * keep * 2 if self.training else x


def fixed_model():
    model = make_model()
    model[2] = Dropping()
    return model


def call(*sizes: int):
    """A model without modes, which no call can change."""
    return lambda: (make_model()[:2].append(nn.Linear(16, 3).double()), batches(*sizes))


@torch.enable_grad()
def trace(evaluate):
    """Whether graphs were kept, buffers moved, and the mode of before is back."""
    model = Watched(norm=True).train()
    evaluate(model, batches(4, 3))
    other = Watched().eval()
    evaluate(other, batches(2))
    moved = model.inside[2].running_mean.abs().sum()
    return [*sorted(model.graphs), float(moved), model.training, other.training]


def in_training_mode(evaluate):
    """Accuracy and loss of a model that comes in training mode."""
    torch.manual_seed(7)
    model = fixed_model().train()
    return evaluate(model, batches(9, 5))


TASK = Task(
    subject="evaluate",
    cases=(
        Case("batches of 8 and 8", call(8, 8)),
        Case("batches of 8, 8 and 3", call(8, 8, 3)),
        Case("one batch of 5", call(5)),
    ),
    gradients=False,
    deterministic=False,
    dtype=False,
    meta=False,
    claims=(
        Claim(
            "A model that comes in training mode is evaluated without dropout.",
            "来时处于训练模式的模型，评估时也不做 dropout。",
            in_training_mode,
        ),
        Claim(
            "No graph, no moved statistics, and the mode of before.",
            "没有计算图，统计量没变，模式恢复原样。",
            trace,
        ),
    ),
)
