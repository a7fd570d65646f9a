"""`lens/explanations/patch_logits.py` has both lenses, per layer and per patch."""

import torch
from torch import nn

import vitrail
from vitrail.learn import Case, Claim, Task
from vitrail.lens.explanations.patch_logits import logit_lens as library_lens


class Scaled(nn.LayerNorm):
    """A LayerNorm whose gain and offset are not 1 and 0."""

    def __init__(self, dim):
        super().__init__(dim, dtype=torch.float64)
        nn.init.normal_(self.weight)
        nn.init.normal_(self.bias)


def states(depth: int, batch: int, count: int, dim: int, classes: int):
    def draw():
        tokens = [torch.randn(batch, count, dim) * (1 + block) for block in range(depth)]
        return tokens, Scaled(dim), nn.Linear(dim, classes, dtype=torch.float64)

    return draw


def in_the_library(logit_lens):
    """The class token's answers after each block of a small ViT, and the library's."""
    torch.manual_seed(0)
    model = vitrail.ViT(8, 4, num_classes=3, dim=16, depth=4, heads=2, mlp_dim=8).eval()
    nn.init.normal_(model.head.weight)
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        tokens = []
        hooks = [b.register_forward_hook(lambda _m, _i, o: tokens.append(o)) for b in model.blocks]
        final = model(images)
        for hook in hooks:
            hook.remove()
        own = logit_lens(tokens, model.norm, model.head)[:, :, 0]
        return [own - library_lens(model, images), own[-1] - final]


TASK = Task(
    subject="logit_lens",
    cases=(
        Case("3 blocks, B=2, N=5, D=8, K=3", states(3, 2, 5, 8, 3)),
        Case("1 block, B=1, N=2, D=4, K=2", states(1, 1, 2, 4, 2)),
        Case("4 blocks, B=4, N=4, D=4, K=4", states(4, 4, 4, 4, 4)),
    ),
    gradients=False,
    dtype=False,
    meta=False,
    claims=(
        Claim(
            "In a ViT of the library the last block's answer is the model's own.",
            "对库中的 ViT，最后一个 block 的答案就是模型自己的输出。",
            in_the_library,
            stage="swap",
            tolerance=1e-4,
        ),
    ),
)
