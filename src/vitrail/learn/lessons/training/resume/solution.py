import copy

import torch
from torch import Tensor, nn


class Run:
    """Trains a small model; `state` and `load` are yours."""

    def __init__(
        self, images: Tensor, targets: Tensor, make_optimizer, make_schedule, seed: int
    ) -> None:
        torch.manual_seed(seed)
        self.images, self.targets = images, targets
        size = images.shape[1]
        self.model = nn.Sequential(
            nn.Linear(size, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 1)
        ).to(images)
        self.optimizer = make_optimizer(self.model.parameters())
        self.schedule = make_schedule(self.optimizer)
        self.average = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self.generator = torch.Generator().manual_seed(seed)
        self.order, self.position = torch.randperm(len(images), generator=self.generator), 0

    @torch.enable_grad()
    def step(self) -> None:
        if self.position >= len(self.order):
            self.order = torch.randperm(len(self.images), generator=self.generator)
            self.position = 0
        batch = self.order[self.position : self.position + 2]
        self.position += 2
        self.optimizer.zero_grad()
        loss = (self.model(self.images[batch])[:, 0] - self.targets[batch]).square().mean()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        for name, parameter in self.model.named_parameters():
            self.average[name].lerp_(parameter.detach(), 0.2)

    def state(self) -> dict:
        """Everything that changes during a run, as it is now."""
        # <write>
        # en: A copy: the run goes on, the state must not.
        # zh: 要复制：训练继续走，存下的 state 不能跟着变。
        return copy.deepcopy(
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "average": self.average,
                "generator": self.generator.get_state(),
                "random": torch.get_rng_state(),
                "order": self.order,
                "position": self.position,
            }
        )
        # </write>

    def load(self, state: dict) -> None:
        """Goes on from a state."""
        # <write>
        # en: Everything that `state` holds, back to its owner.
        # zh: 把 `state` 里的每一样恢复到原处。
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.average = state["average"]
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["random"])
        self.order, self.position = state["order"], state["position"]
        # </write>


def interrupted(
    images: Tensor, targets: Tensor, make_optimizer, make_schedule, first: int, second: int
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Images (N, D), targets (N,) -> weights, averages and order of the second run"""
    # en: This part is given: a run that is saved and goes on, and another one that is loaded.
    # zh: 这一部分已写好：一个训练保存后继续走，另一个从存档开始。
    makers = make_optimizer, make_schedule
    run = Run(images, targets, *makers, seed=1)
    for _ in range(first):
        run.step()
    state = run.state()
    for _ in range(2):
        run.step()
    other = Run(images, targets, *makers, seed=2)
    other.load(state)
    for _ in range(second):
        other.step()
    weights = [parameter.detach().clone() for parameter in other.model.parameters()]
    return weights, [other.average[name].clone() for name in other.average], other.order
