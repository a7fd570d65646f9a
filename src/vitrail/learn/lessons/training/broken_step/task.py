"""`Trainer` of `train/trainer.py` takes its steps in this order."""

import torch
from torch import nn

from vitrail.learn import Case, Claim, Task


class SGD:
    """Plain gradient descent, which records what is asked of it."""

    def __init__(self, parameters, rate):
        self.parameters, self.rate, self.asked = [*parameters], rate, []

    def zero_grad(self, set_to_none=True):
        self.asked.append("zero_grad")
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self):
        self.asked.append("step")
        for parameter in self.parameters:
            if parameter.grad is not None:
                parameter -= self.rate * parameter.grad


def small():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 8), nn.GELU(), nn.Dropout(0.0), nn.Linear(8, 3)).double()
    with torch.no_grad():
        model[3].weight *= 8  # a gradient that is clipped
    return model


def batch(count=10):
    torch.manual_seed(2)
    return torch.randn(count, 6).double(), torch.randint(3, (count,))


def still(count, parts):
    """A model whose weights stay, for the loss alone."""

    def draw():
        model = small()
        return model, SGD(model.parameters(), 0.0), *batch(count), parts

    return draw


def after(count, parts, steps=1, scale=1.0):
    @torch.enable_grad()
    def measure(train_step):
        model = small()
        if scale != 1.0:
            with torch.no_grad():
                model[3].weight /= scale
        optimizer, losses = SGD(model.parameters(), 0.3), []
        for _ in range(steps):
            losses.append(train_step(model, optimizer, *batch(count), parts))
        return [*model.parameters(), *losses]

    return measure


@torch.enable_grad()
def whole_batch(train_step):
    """Three parts of unequal size do what the whole batch does."""
    results = []
    for parts in (1, 3):
        model = small()
        train_step(model, SGD(model.parameters(), 0.3), *batch(), parts)
        results.append(model[0].weight.detach())
    return results[0] - results[1]


@torch.enable_grad()
def modes(train_step):
    """Whether the model is in training mode afterwards, and the loss has no graph."""
    model = small().eval()
    loss = train_step(model, SGD(model.parameters(), 0.3), *batch(), 2)
    return [model.training, torch.as_tensor(loss).requires_grad]


@torch.enable_grad()
def order(train_step):
    """One zero_grad and one step per batch."""
    model = small()
    optimizer = SGD(model.parameters(), 0.3)
    train_step(model, optimizer, *batch(), 5)
    return [optimizer.asked.count("zero_grad"), optimizer.asked.count("step")]


TASK = Task(
    subject="train_step",
    cases=(
        Case("10 images in 2 parts", still(10, 2)),
        Case("10 images in 3 parts", still(10, 3)),
        Case("3 images in 3 parts", still(3, 3)),
    ),
    gradients=False,
    deterministic=False,  # a second step is another one
    dtype=False,
    meta=False,
    claims=(
        Claim(
            "The weights after a step, in two equal parts.",
            "分成两等份时，一步之后的权重。",
            after(10, 2),
        ),
        Claim("The weights after three steps.", "三步之后的权重。", after(10, 2, steps=3)),
        Claim(
            "The weights where nothing is clipped.",
            "不触发裁剪时的权重。",
            after(10, 2, scale=64.0),
        ),
        Claim(
            "Parts of 4, 4 and 2 images count as the whole batch.",
            "分成 4、4、2 张时，与整个 batch 等价。",
            after(10, 3),
        ),
        Claim("Three parts do what one does.", "分三份与不分的结果相同。", whole_batch),
        Claim(
            "Training mode, and a loss without a graph.",
            "处于训练模式，返回的损失不带计算图。",
            modes,
        ),
        Claim("One zero_grad and one step per batch.", "每个 batch 只清零一次、更新一次。", order),
    ),
)
