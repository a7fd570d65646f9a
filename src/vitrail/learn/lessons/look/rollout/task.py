"""`lens/rollout.py`, of attention that `vitrail.record` has kept."""

import torch

import vitrail
from vitrail.learn import Case, Claim, Task
from vitrail.lens.explanations.rollout import attention_rollout


def maps(depth: int, batch: int, heads: int, count: int):
    def draw():
        return ([(torch.randn(batch, heads, count, count) * 2).softmax(-1) for _ in range(depth)],)

    return draw


def path_sums(weights):
    """The row alone, carried back from the last layer to the first."""
    row = torch.zeros(len(weights[0]), 1, weights[0].shape[-1], dtype=weights[0].dtype)
    row[:, :, 0] = 1
    for layer in reversed(weights):
        row = 0.5 * row + 0.5 * torch.einsum("bqi,bhij->bqj", row, layer) / layer.shape[1]
    return row[:, 0, 1:]


def in_the_library(rollout):
    """The map of a small ViT: by the learner from recorded weights, over the library's."""
    torch.manual_seed(0)
    model = vitrail.ViT((8, 12), 4, num_classes=2, dim=16, depth=3, heads=4, mlp_dim=8).eval()
    images = torch.randn(2, 3, 8, 12)
    with torch.no_grad(), vitrail.record(model) as recorded:
        model(images)
    weights = [recorded[key] for key in recorded]
    return rollout(weights) / attention_rollout(model, images).flatten(1)


TASK = Task(
    subject="rollout",
    cases=(
        Case("3 layers, B=2, 3 heads, N=5", maps(3, 2, 3, 5)),
        Case("1 layer, B=1, 1 head, N=3", maps(1, 1, 1, 3)),
        Case("4 layers, B=3, 4 heads, N=4", maps(4, 3, 4, 4)),
    ),
    reference=path_sums,
    claims=(
        Claim(
            "Of attention recorded in a ViT, it gives the library's map.",
            "对 ViT 里记录下的注意力，应得到与库中相同的图。",
            in_the_library,
            stage="swap",
            tolerance=1e-4,
        ),
    ),
)
