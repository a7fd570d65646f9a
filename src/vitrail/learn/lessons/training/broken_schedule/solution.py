import math

import torch
import torch.nn.functional as F
from torch import Tensor


def train(
    make_model,
    make_optimizer,
    make_schedule,
    images: Tensor,
    labels: Tensor,
    epochs: int,
    batch_size: int,
    seed: int,
) -> tuple[list[Tensor], list[float]]:
    """Functions that make the parts, images, labels -> weights, learning rate of every step"""
    # <write>
    model = make_model()
    model.train()
    optimizer = make_optimizer(model.parameters())
    # en: The rate falls to 0 by half a cosine, over all steps of all epochs.
    # zh: 学习率沿半个余弦降到 0，覆盖所有轮的所有步。
    steps = epochs * math.ceil(len(images) / batch_size)
    schedule = make_schedule(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    rates = []
    # en: Every epoch has an order of its own, and takes each image once.
    # zh: 每一轮有自己的顺序，每张图用一次。
    for _epoch in range(epochs):
        order = torch.randperm(len(images), generator=generator)
        for batch in order.split(batch_size):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images[batch]), labels[batch])
            loss.backward()
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
    return [parameter.detach() for parameter in model.parameters()], rates
    # </write>
