from collections.abc import Callable

import torch
from torch import Tensor, nn


def profile(
    model: nn.Module, images: Tensor, clock: Callable[[], float]
) -> dict[str, tuple[int, int, float]]:
    """Every nn.Linear and nn.Conv2d by name -> its calls, multiply-adds, seconds of a forward"""
    # <write>
    figures: dict[str, tuple[int, int, float]] = {}
    starts = {}
    handles = []

    # en: 1. The two hooks of a layer: one notes the time, the other adds up.
    # zh: 1. 一层的两个 hook：一个记下时间，另一个累加。
    def hooks_of(name: str):
        def before(module, args):
            starts[name] = clock()

        def after(module, args, output):
            seconds = clock() - starts[name]
            calls, multiply_adds, total = figures.get(name, (0, 0, 0.0))
            count = output.numel() * module.weight[0].numel()
            figures[name] = (calls + 1, multiply_adds + count, total + seconds)

        return before, after

    # en: 2. Register them with every linear layer and convolution, however deep.
    # zh: 2. 给每个线性层和卷积层（无论嵌套多深）都注册。
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            before, after = hooks_of(name)
            handles.append(module.register_forward_pre_hook(before))
            handles.append(module.register_forward_hook(after))
    # en: 3. One forward without gradients; then all hooks go.
    # zh: 3. 不求梯度，前向一次；然后移除所有 hook。
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return figures
    # </write>
