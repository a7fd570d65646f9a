"""`models/deit.py` does the same around its blocks."""

import torch
from torch import nn

import vitrail
from vitrail.layers.heads import TokenDistillationHeads
from vitrail.layers.position import PositionTable
from vitrail.layers.tokens import Token
from vitrail.learn import Case, Claim, Task
from vitrail.learn.task import renamed

NAMES = renamed(
    class_token__weight="class_token",
    distillation_token__weight="distillation_token",
    position__weight="position",
    head__cls__weight="head.weight",
    head__cls__bias="head.bias",
    head__dist__weight="distillation_head.weight",
    head__dist__bias="distillation_head.bias",
)


class Reference(nn.Module):
    """The ends of the library's DeiT, of its own parts."""

    def __init__(self, dim: int, patches: int, classes: int) -> None:
        super().__init__()
        self.grid = (1, patches)
        self.class_token, self.distillation_token = Token(1, dim), Token(1, dim)
        self.position = PositionTable(self.grid, dim, prefix=2)
        self.head = TokenDistillationHeads(nn.Linear(dim, classes), nn.Linear(dim, classes))

    def forward(self, patches, blocks):
        batch = patches.shape[0]
        tokens = [self.class_token(batch), self.distillation_token(batch), patches]
        pooled = blocks(torch.cat(tokens, dim=1) + self.position(self.grid))[:, :2].flatten(1)
        return self.head.each(pooled) if self.training else self.head(pooled)


def blocks(x):
    """Attention without parameters, in the place of the blocks."""
    return x + (x @ x.transpose(1, 2)).softmax(dim=-1) @ x


def patches(batch: int, count: int, dim: int):
    return lambda: (torch.randn(batch, count, dim), blocks)


def in_deit(subject):
    """The logits of the library's DeiT, and the same model with the learner's ends."""
    model = vitrail.DeiT(8, 4, num_classes=3, dim=8, depth=1, heads=2, mlp_dim=16).double().eval()
    ends = subject(8, 4, 3).double().eval()
    state = NAMES(dict(model.named_parameters()))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
        for name, parameter in ends.named_parameters():
            parameter.copy_(state[name])
        images = torch.randn(2, 3, 8, 8).double()
        embedded, _ = model.patch_embed(images)
        return ends(embedded, lambda x: model.norm(model.blocks[0](x))) - model(images)


TASK = Task(
    subject="DistilledViT",
    cases=(
        Case("B=2, N=5, D=6, classes=3", patches(2, 5, 6), {"dim": 6, "patches": 5, "classes": 3}),
        Case("B=1, N=3, D=4, classes=4", patches(1, 3, 4), {"dim": 4, "patches": 3, "classes": 4}),
        Case("B=3, N=4, D=8, classes=2", patches(3, 4, 8), {"dim": 8, "patches": 4, "classes": 2}),
    ),
    reference=Reference,
    weights=NAMES,
    claims=(
        Claim(
            "In the library's DeiT your ends give the same logits.",
            "换进库里的 DeiT 之后，logits 应当不变。",
            in_deit,
            stage="swap",
        ),
    ),
)
