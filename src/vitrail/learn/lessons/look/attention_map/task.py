"""The mean map on the grid is that of `lens/explanations/attention.py`."""

import torch
import torch.nn.functional as F

import vitrail
from vitrail.learn import Case, Claim, Task
from vitrail.lens.explanations.attention import layer_attention


def attention(batch: int, heads: int, grid: tuple[int, int], size: tuple[int, int], fuse: str):
    def draw():
        count = grid[0] * grid[1] + 1
        scores = 2 * torch.randn(batch, heads, count, count)
        return scores.softmax(dim=-1), grid, size, fuse

    return draw


def in_the_library(attention_maps):
    """The learner's mean map less the library's, of the last layer of a small ViT."""
    torch.manual_seed(0)
    model = vitrail.ViT((8, 12), 4, num_classes=2, dim=16, depth=2, heads=4, mlp_dim=8).eval()
    images = torch.randn(2, 3, 8, 12)
    with torch.no_grad(), vitrail.record(model) as recorded:
        model(images)
    weights = [recorded[key] for key in recorded][-1]
    theirs = F.interpolate(layer_attention(model, images)[:, None], size=(8, 12), mode="bilinear")
    return attention_maps(weights, (2, 3), (8, 12))[:, -1] - theirs[:, 0]


TASK = Task(
    subject="attention_maps",
    cases=(
        Case("B=2, 3 heads, grid 2 x 3, 8 x 15 pixels", attention(2, 3, (2, 3), (8, 15), "mean")),
        Case("B=1, 2 heads, grid 4 x 2, max", attention(1, 2, (4, 2), (12, 6), "max")),
        Case("B=3, 1 head, grid 1 x 4", attention(3, 1, (1, 4), (3, 8), "mean")),
    ),
    claims=(
        Claim(
            "Of attention recorded in a ViT, the mean map is the library's.",
            "对 ViT 里记录下的注意力，平均图应与库中相同。",
            in_the_library,
            stage="swap",
            tolerance=1e-5,
        ),
    ),
)
