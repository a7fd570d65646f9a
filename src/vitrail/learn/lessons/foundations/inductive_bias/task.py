"""PyTorch's convolution with circular padding, as a matrix by its action on single pixels."""

import torch
import torch.nn.functional as F

from vitrail.learn import Case, Claim, Task


def nonlinear(image):
    """Sees where it is: not equivariant."""
    height, width = image.shape
    rows = torch.arange(height, dtype=image.dtype, device=image.device)[:, None]
    columns = torch.arange(width, dtype=image.dtype, device=image.device)
    return image.square() * (1 + rows) - columns


def inputs(k: int, size: tuple[int, int], by: tuple[int, int]):
    return lambda: (torch.randn(k, k), torch.randn(size), by, nonlinear)


def reference(kernel, image, by, layer):
    height, width = image.shape
    k, count = len(kernel), height * width
    pixels = torch.eye(count, dtype=kernel.dtype, device=kernel.device)
    rows = torch.arange(-(k // 2), height + k // 2, device=kernel.device) % height
    columns = torch.arange(-(k // 2), width + k // 2, device=kernel.device) % width
    padded = pixels.view(count, 1, height, width)[:, :, rows][..., columns]
    matrix = F.conv2d(padded, kernel[None, None]).view(count, count).T
    convolved = (matrix @ image.flatten()).view_as(image)
    gap = layer(image.roll(by, (0, 1))) - layer(image).roll(by, (0, 1))
    return matrix, convolved, (convolved - convolved).max(), gap.abs().max()


def equivariant(experiment):
    torch.manual_seed(5)
    kernel, image = torch.randn(3, 3).double(), torch.randn(4, 5).double()
    return experiment(kernel, image, (1, 2), nonlinear)[2] < 1e-12


TASK = Task(
    subject="experiment",
    cases=(
        Case("k=3, 4 x 5", inputs(3, (4, 5), (1, 2))),
        Case("k=3, 2 x 4: the kernel meets itself", inputs(3, (2, 4), (0, 1))),
        Case("k=1, 3 x 2", inputs(1, (3, 2), (2, 1))),
    ),
    reference=reference,
    gradients=False,
    claims=(
        Claim("The convolution has no gap.", "卷积的误差为 0。", equivariant),
    ),
)  # fmt: skip
