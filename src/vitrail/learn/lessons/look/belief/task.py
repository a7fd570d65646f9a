"""`lens/faithfulness/perturbation.py` does the same for models and batches."""

import torch

import vitrail
from vitrail.learn import Case, Claim, Task
from vitrail.lens.faithfulness.perturbation import perturbation_curve


class Linear:
    """A model of three classes: softmax of a linear function of the pixels, and their squares."""

    def __init__(self, *shape: int) -> None:
        self.weight = torch.randn(2, 3, *shape).double()

    def __call__(self, image):
        linear, square = self.weight.to(image)
        return ((linear * image) + (square * image.square())).sum(dim=(1, 2, 3)).softmax(dim=0)


def images(channels: int, height: int, width: int, rows: int, columns: int, steps: int):
    def draw():
        model = Linear(channels, height, width)
        image = torch.randn(channels, height, width) * 0.3 + 0.1
        return model, image, torch.rand(rows, columns), 1, steps

    return draw


def in_the_library(deletion):
    """Curves of a small ViT, less the library's."""
    torch.manual_seed(0)
    model = vitrail.ViT((8, 12), 4, num_classes=3, dim=16, depth=2, heads=4, mlp_dim=8).eval()
    torch.nn.init.normal_(model.head.weight)
    image, heat = torch.randn(3, 8, 12), torch.rand(2, 3)

    def probabilities(image):
        with torch.no_grad():
            return model(image[None]).softmax(dim=1)[0]

    curve, area = deletion(probabilities, image, heat, 2, 4)
    theirs = perturbation_curve(model, image[None], heat[None], 2, steps=4)
    return [curve - theirs.probabilities[:, 0], area - theirs.area[0]]


TASK = Task(
    subject="deletion",
    cases=(
        Case("8 x 12 pixels, 2 x 3 cells, 6 steps", images(3, 8, 12, 2, 3, 6)),
        Case("6 x 4 pixels, 3 x 2 cells, 4 steps", images(1, 6, 4, 3, 2, 4)),
        Case("9 x 9 pixels, 3 x 3 cells, 3 steps", images(2, 9, 9, 3, 3, 3)),
    ),
    claims=(
        Claim(
            "For a ViT, curve and area are the library's.",
            "对 ViT，曲线与面积应与库中相同。",
            in_the_library,
            stage="swap",
            tolerance=1e-5,
        ),
    ),
)
