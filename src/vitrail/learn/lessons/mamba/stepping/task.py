"""`Mamba.forward(..., inference_params=)` of `layers/mamba.py` goes on with a cache in this way."""

import torch
import torch.nn.functional as F

from vitrail.learn import Case, Claim, Task
from vitrail.ops.selective_scan.reference import Scan, selective_scan_reference


def token(batch: int, dim: int, states: int, width: int):
    def draw():
        state = torch.randn(batch, width - 1, dim), torch.randn(batch, dim, states)
        x, delta = torch.randn(batch, dim), torch.randn(batch, dim)
        B, C = torch.randn(batch, states), torch.randn(batch, states)
        A, D = -torch.rand(dim, states) - 0.1, torch.randn(dim)
        return state, x, torch.randn(dim, width), delta, A, B, C, D

    return draw


def whole_sequence(step):
    """Seven tokens one by one, beside a causal convolution and the library's scan of all."""
    torch.manual_seed(0)
    batch, length, dim, states, width = 2, 7, 3, 4, 4
    x, delta = torch.randn(2, batch, length, dim).double()
    B, C = torch.randn(2, batch, length, states).double()
    A, D = -torch.rand(dim, states).double(), torch.randn(dim).double()
    conv = torch.randn(dim, width).double()
    state = x.new_zeros(batch, width - 1, dim), x.new_zeros(batch, dim, states)
    outputs = []
    for t in range(length):
        y, state = step(state, x[:, t], conv, delta[:, t], A, B[:, t], C[:, t], D)
        outputs.append(y)
    padded = F.pad(x.mT, (width - 1, 0))
    u = F.silu(F.conv1d(padded, conv[:, None], groups=dim)).mT
    none = torch.zeros(1, dim)
    scan = Scan(u[None], delta[None], A[None], B[None], C[None], D[None], none, None)
    return torch.stack(outputs, 1) - selective_scan_reference(scan, [False])


TASK = Task(
    subject="step",
    cases=(
        Case("B=2, D=3, N=4, K=4", token(2, 3, 4, 4)),
        Case("B=3, D=3, N=3, K=3", token(3, 3, 3, 3)),
        Case("B=1, D=2, N=1, K=2", token(1, 2, 1, 2)),
    ),
    claims=(
        Claim(
            "Seven tokens one by one give what convolution and scan give for the whole sequence.",
            "逐个送入 7 个 token，应与对整个序列做卷积和扫描的结果相同。",
            whole_sequence,
            stage="swap",
        ),
    ),
)
