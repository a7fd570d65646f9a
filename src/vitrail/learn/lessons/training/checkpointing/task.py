"""`SequenceBackbone.encode` of `models/base.py` calls torch.utils.checkpoint for each block."""

import torch
from torch import nn

from vitrail.learn import Case, Claim, Task


class Plain(nn.Module):
    """The same model without checkpointing."""

    def __init__(self, dim: int, depth: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim)
            )
            for _ in range(depth)
        )

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return x


def tokens(*shape: int):
    return lambda: (torch.randn(shape),)


def sizes(dim: int, depth: int, dropout: float = 0.0):
    return {"dim": dim, "depth": depth, "dropout": dropout}


def build(cls, depth: int, dropout: float):
    torch.manual_seed(4)
    return cls(6, depth, dropout).double(), torch.randn(2, 3, 6).double().requires_grad_()


@torch.enable_grad()
def kept(Checkpointed):
    """Numbers that autograd keeps in a forward pass, parameters aside."""
    model, x = build(Checkpointed, 4, 0.0)
    own, counts = {p.data_ptr() for p in model.parameters()}, []

    def pack(tensor):
        if tensor.data_ptr() not in own:
            counts.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model(x)
    return [sum(counts)]


@torch.enable_grad()
def most_at_once(Checkpointed):
    """The longest run of blocks that are computed with a graph, between two gradients."""
    model, x = build(Checkpointed, 4, 0.0)
    output = model(x)
    events = []
    for block in model.blocks:
        block.register_forward_hook(lambda *_: events.append("f"))
        block[0].weight.register_hook(lambda gradient: events.append("b"))
    output.sum().backward()
    return max((len(run) for run in "".join(events).split("b")), default=0)


@torch.enable_grad()
def with_dropout(Checkpointed):
    """Gradients in training mode."""
    model, x = build(Checkpointed, 3, 0.4)
    model(x).square().sum().backward()
    return [x.grad, *(p.grad for p in model.parameters())]


@torch.enable_grad()
def afterwards(Checkpointed):
    """What is drawn after backward."""
    model, x = build(Checkpointed, 2, 0.4)
    model(x).sum().backward()
    return torch.rand(3)


TASK = Task(
    subject="Checkpointed",
    cases=(
        Case("B=1, N=2, D=4, 1 block", tokens(1, 2, 4), sizes(4, 1)),
        Case("B=2, N=3, D=5, 3 blocks", tokens(2, 3, 5), sizes(5, 3)),
        Case("dropout 0.3", tokens(2, 2, 4), sizes(4, 2, 0.3)),
    ),
    reference=Plain,
    claims=(
        Claim("Autograd keeps the input of each block and nothing else.",
              "autograd 只保存每个 block 的输入。", kept),
        Claim("Backward computes one block at a time.", "反向时每次只重算一个 block。",
              most_at_once),
        Claim("With dropout the gradients are those of a plain model.",
              "有 dropout 时，梯度与普通模型相同。", with_dropout),
        Claim("Random numbers after backward go on as without checkpointing.",
              "反向之后的随机数与不用检查点时相同。", afterwards),
    ),
)  # fmt: skip
