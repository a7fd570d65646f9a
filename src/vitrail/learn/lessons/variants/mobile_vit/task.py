"""`MobileViTBlock` of `models/mobile_vit.py` unfolds by `partition(..., spread=True)`."""

import torch
from torch import nn

import vitrail
from vitrail.layers.window import partition, unpartition
from vitrail.learn import Case, Claim, Task


def transformer(sequences):
    """Depends on the order of the tokens and of the sequences."""
    number = torch.arange(len(sequences), device=sequences.device)[:, None, None]
    return sequences.cumsum(dim=1) + sequences.tanh() * number


def maps(batch: int, height: int, width: int, patch: tuple[int, int]):
    return lambda: (torch.randn(batch, 3, height, width), patch, transformer)


def reference(x, patch, transformer):
    size = (x.shape[2], x.shape[3])
    count = (size[0] // patch[0], size[1] // patch[1])
    sequences = transformer(partition(x.permute(0, 2, 3, 1), count, spread=True))
    return unpartition(sequences, count, size, spread=True).permute(0, 3, 1, 2)


class InBlock(nn.Module):
    """The library's block, unfolded and folded by the learner's function."""

    def __init__(self, unfold_fold, block) -> None:
        super().__init__()
        self.unfold_fold, self.block = unfold_fold, block

    def forward(self, x):
        block = self.block
        y = block.widen(block.local(x))
        y = self.unfold_fold(y, block.patch, lambda tokens: block.norm(block.blocks(tokens)))
        return block.merge(torch.cat([x, block.project(y)], dim=1))


def in_mobile_vit(unfold_fold):
    """How much the logits of a MobileViT change when the learner's function unfolds its maps."""
    model = vitrail.MobileViT(
        32, 2, num_classes=3, stem_dim=4, dim=(4, 4, 8), token_dim=(8,), out_dim=8,
        depth=(1, 1, 1), heads=2,
    ).eval()  # fmt: skip
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
        before = model(images)
        model.blocks[2][1] = InBlock(unfold_fold, model.blocks[2][1])
        return model(images) - before


TASK = Task(
    subject="unfold_fold",
    cases=(
        Case("B=2, H=4, W=6, patch=(2, 2)", maps(2, 4, 6, (2, 2))),
        Case("B=1, H=6, W=8, patch=(3, 2)", maps(1, 6, 8, (3, 2))),
        Case("B=3, H=2, W=6, patch=(1, 3)", maps(3, 2, 6, (1, 3))),
    ),
    reference=reference,
    claims=(
        Claim(
            "In a MobileViT of the library the logits stay the same.",
            "换进库里的 MobileViT 之后，logits 应当不变。",
            in_mobile_vit,
            stage="swap",
            tolerance=1e-4,
        ),
    ),
)
