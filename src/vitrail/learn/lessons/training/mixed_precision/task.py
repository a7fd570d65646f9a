"""`Gradients` of `train/gradients.py`, with PyTorch's autocast and GradScaler."""

import torch
from torch import nn

from vitrail.learn import Case, Claim, Task

OVERFLOW = 1e39  # beyond float32


class Small(nn.Module):
    """Weights in float32, whatever the images are."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 3)

    def bfloat16(self):
        raise TypeError("the weights stay in float32: autocast converts copies")

    def forward(self, images):
        x = images.to(self.first.weight.dtype)
        return self.second(torch.tanh(self.first(x)))


class SGD:
    """Plain gradient descent."""

    def __init__(self, model, rate):
        self.parameters, self.rate = [*model.parameters()], rate

    def zero_grad(self, set_to_none=True):
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self):
        for parameter in self.parameters:
            if self.rate and parameter.grad is not None:  # 0 times infinity is NaN
                parameter -= self.rate * parameter.grad


def small():
    torch.manual_seed(1)
    model = Small()
    with torch.no_grad():
        model.second.weight *= 3
    return model


def batch():
    torch.manual_seed(2)
    return torch.randn(5, 6), torch.randint(3, (5,))


def still(scale: float, good_steps: int, interval: int):
    """A model whose weights stay, for what is returned."""

    def draw():
        model = small()
        return model, SGD(model, 0.0), *batch(), scale, good_steps, interval

    return draw


def after(scale: float, size: float = 1.0, steps: int = 1):
    """Weights, scales and counts after steps; images of a size decide whether it is clipped."""

    @torch.enable_grad()
    def measure(mixed_step):
        model, good_steps, notes = small(), 1, []
        optimizer, factor = SGD(model, 0.5), scale
        images, labels = batch()
        for _ in range(steps):
            _loss, factor, good_steps = mixed_step(
                model, optimizer, size * images, labels, factor, good_steps, 2
            )
            notes += [factor, good_steps]
        return [*(p.detach().double() for p in model.parameters()), *notes]

    return measure


@torch.enable_grad()
def dtypes(mixed_step):
    model = small()
    loss, *_ = mixed_step(model, SGD(model, 0.1), *batch(), 2.0, 0, 9)
    return [
        str(loss.dtype), loss.requires_grad, *sorted({str(p.dtype) for p in model.parameters()})
    ]  # fmt: skip


class OneInfinite(Small):
    """Its last gradient alone is infinite."""

    def forward(self, images):
        logits = super().forward(images)
        self.second.bias.register_hook(lambda gradient: gradient * float("inf"))
        return logits


@torch.enable_grad()
def one_overflow(mixed_step):
    torch.manual_seed(1)
    model = OneInfinite()
    _loss, scale, good_steps = mixed_step(model, SGD(model, 0.1), *batch(), 8.0, 1, 2)
    return [*(p.detach().nan_to_num(7, 8, 9) for p in model.parameters()), scale, good_steps]


TASK = Task(
    subject="mixed_step",
    cases=(
        Case("scale 1024", still(1024.0, 0, 3)),
        Case("scale 8, the third good step of 3", still(8.0, 2, 3)),
        Case("scale 2, the first good step of 2", still(2.0, 0, 2)),
    ),
    gradients=False,
    deterministic=False,  # a second step is another one
    dtype=False,
    meta=False,
    claims=(
        Claim("Weights and loss stay float32, the loss without its graph.",
              "权重与损失保持 float32，损失不带计算图。", dtypes),
        Claim("Weights after a step that is not clipped.", "不触发裁剪时，一步之后的权重。",
              after(64.0, size=0.05)),
        Claim("Weights after a step that is clipped.", "触发裁剪时，一步之后的权重。",
              after(64.0, size=3.0)),
        Claim("An overflow changes no weight.", "溢出时权重不变。", after(OVERFLOW)),
        Claim("Scales and counts of five steps.", "五步之中因子与计数的变化。",
              after(4.0, steps=5)),
        Claim("One infinite gradient is enough to leave the step out.",
              "只要有一个梯度溢出，就跳过这一步。", one_overflow),
    ),
)  # fmt: skip
