"""`train/optim.py` asks each parameter's module, which declares what is not decayed."""

import torch
from torch import nn

import vitrail
from vitrail.learn import Case, Claim, Task


class Small(nn.Module):
    """A ViT without blocks that have anything new: one of each kind of parameter."""

    def __init__(self, frozen=(), drawn=False):
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 8, 4, 4)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.pos_embed = nn.Parameter(torch.zeros(1, 5, 8))
        self.block = nn.ModuleDict({"norm": nn.LayerNorm(8), "mlp": nn.Linear(8, 16)})
        self.head = nn.Linear(8, 3)
        for name in frozen:
            self.get_submodule(name).requires_grad_(False)
        if drawn:  # numbers that tell parameters apart
            for parameter in self.parameters():
                nn.init.normal_(parameter)


def describe(groups, model):
    """The groups as names and numbers."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [
        [group["weight_decay"], *sorted(names.get(id(p), "?") for p in group["params"])]
        for group in groups
    ]


def names_of(frozen=()):
    def measure(parameter_groups):
        model = Small(frozen)
        return describe(parameter_groups(model, 0.05), model)

    return measure


def sizes(parameter_groups):
    """How many parameters each group has, of a real ViT."""
    model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=2, heads=2, mlp_dim=16)
    groups = parameter_groups(model, 0.1)
    return [
        [group["weight_decay"], *sorted(p.numel() for p in group["params"] if p.ndim > 1)]
        for group in groups
    ]


TASK = Task(
    subject="parameter_groups",
    cases=(
        Case("a model with one parameter of each kind", lambda: (Small(drawn=True), 0.05)),
        Case("weight_decay=0.3", lambda: (Small(drawn=True), 0.3)),
    ),
    gradients=False,
    dtype=False,
    meta=False,
    claims=(
        Claim(
            "Weights of layers are decayed; biases, norms, the class token and positions are not.",
            "各层的权重要衰减；偏置、归一化、class token 与位置编码不衰减。",
            names_of(),
        ),
        Claim(
            "Frozen parameters are in no group.",
            "冻结的参数不在任何一组里。",
            names_of(("patch_embed", "block.norm")),
        ),
        Claim(
            "The groups of a ViT of the library agree.",
            "对库中的 ViT 分组应一致。",
            sizes,
            stage="swap",
        ),
    ),
)
