"""`lens/explanations/relevance.py`, of attention recorded with its gradients."""

import torch

import vitrail
from vitrail.learn import Case, Claim, Task
from vitrail.lens.explanations.relevance import relevance as library_relevance


def maps(depth: int, batch: int, heads: int, count: int):
    def draw():
        weights = [torch.randn(batch, heads, count, count).softmax(-1) for _ in range(depth)]
        return weights, [torch.randn(batch, heads, count, count) for _ in range(depth)]

    return draw


def in_the_library(relevance):
    """The map of the likeliest class of a small ViT, over the library's."""
    torch.manual_seed(0)
    model = vitrail.ViT((8, 12), 4, num_classes=3, dim=16, depth=3, heads=4, mlp_dim=8).eval()
    torch.nn.init.normal_(model.head.weight)
    images = torch.randn(2, 3, 8, 12)
    with torch.enable_grad(), vitrail.record(model, gradients=True) as recorded:
        model(images).amax(dim=1).sum().backward()
    weights = [recorded[key] for key in recorded]
    with torch.no_grad():
        own = relevance([w.detach() for w in weights], [w.grad for w in weights])
    theirs = library_relevance(model, images).flatten(1)
    return own / own.sum(1, keepdim=True) - theirs / theirs.sum(1, keepdim=True)


TASK = Task(
    subject="relevance",
    cases=(
        Case("3 layers, B=2, 3 heads, N=5", maps(3, 2, 3, 5)),
        Case("1 layer, B=1, 1 head, N=3", maps(1, 1, 1, 3)),
        Case("4 layers, B=3, 4 heads, N=4", maps(4, 3, 4, 4)),
    ),
    claims=(
        Claim(
            "Of attention and gradients recorded in a ViT, it gives the library's map.",
            "对 ViT 里记录下的注意力和梯度，应得到与库中相同的图。",
            in_the_library,
            stage="swap",
            tolerance=1e-4,
        ),
    ),
)
