import copy

import torch
import torch.nn.functional as F
from torch import Tensor


def train(
    make_model,
    make_optimizer,
    images: Tensor,
    labels: Tensor,
    steps: int,
    warmup: int,
    rate: float,
) -> tuple[list[float], list[Tensor], list[Tensor]]:
    """Functions that make the parts, a batch -> rates, the model's state, the average's"""
    # <write>
    model = make_model()
    average = copy.deepcopy(model)
    # en: Weights are decayed; biases and norms, of one axis, are not.
    # zh: 权重要衰减；一维的偏置与归一化参数不衰减。
    decayed = [p for p in model.parameters() if p.ndim > 1]
    spared = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": 0.1},
        {"params": spared, "weight_decay": 0.0},
    ]
    optimizer = make_optimizer(groups, rate)
    rates = []
    model.train()
    for step in range(steps):
        # en: The rate rises linearly over the warm-up, then stays.
        # zh: 学习率在预热期线性上升，之后不变。
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / warmup)
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        # en: Parameters are averaged, buffers copied.
        # zh: 参数取滑动平均，buffer 直接复制。
        with torch.no_grad():
            for a, p in zip(average.parameters(), model.parameters(), strict=True):
                a.lerp_(p, 0.1)
            for a, b in zip(average.buffers(), model.buffers(), strict=True):
                a.copy_(b)
    return rates, [*model.state_dict().values()], [*average.state_dict().values()]
    # </write>
