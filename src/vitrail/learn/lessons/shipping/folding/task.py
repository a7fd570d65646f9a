"""`deploy.fuse` folds norms, LayerScale and batch norms of whole models."""

import torch
import torch.nn.functional as F

from vitrail.learn import Case, Claim, Task


def layers(dim: int, out: int):
    return lambda: (
        *torch.randn(2, dim), torch.randn(out, dim), *torch.randn(2, out)
    )  # fmt: skip


def reference(gain, offset, weight, bias, scale):
    """Read off the layers themselves: the bias at 0, the columns at the unit vectors."""

    def run(x):
        return scale * F.linear(gain * x + offset, weight, bias)

    at_zero = run(torch.zeros_like(gain))
    return (run(torch.diag(torch.ones_like(gain))) - at_zero).T, at_zero


def same_outputs(fold):
    """A norm, a linear layer and a LayerScale, less a plain norm and the folded layer."""
    torch.manual_seed(0)
    gain, offset, weight, bias, scale = layers(6, 4)()
    x = torch.randn(3, 5, 6)
    before = scale * F.linear(F.layer_norm(x, (6,), gain, offset), weight, bias)
    return before - F.linear(F.layer_norm(x, (6,)), *fold(gain, offset, weight, bias, scale))


TASK = Task(
    subject="fold",
    cases=(
        Case("D=6, K=4", layers(6, 4)),
        Case("D=3, K=3", layers(3, 3)),
        Case("D=1, K=2", layers(1, 2)),
    ),
    reference=reference,
    claims=(
        Claim(
            "Norm, linear layer and LayerScale give what a plain norm and the folded layer give.",
            "“归一化 + 线性层 + LayerScale”应与“不带参数的归一化 + 折叠后的线性层”结果相同。",
            same_outputs,
            stage="swap",
            tolerance=1e-4,
        ),
    ),
)
