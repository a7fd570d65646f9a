"""Linear layers: oneDNN against PyTorch's own product (MKL on x86), float32 on a CPU.

python -m benchmarks.linear [--quick]

Sizes are (tokens, in, out) of Swin-T's four stages and of ViT-S and ViT-B at batch 8. Ratios are
PyTorch's time over oneDNN's.
"""

import os
import sys

import torch

from benchmarks.common import compare, write
from vitrail.ops.linear import linear, mkl_is_slow

SIZES = [
    (25088, 96, 384), (6272, 192, 768), (1568, 384, 1536), (392, 768, 3072),
    (1576, 384, 1536), (1576, 1536, 384), (1576, 768, 3072),
]  # fmt: skip


def main() -> None:
    """Times products and their gradients, prints the ratios and writes them."""
    quick = "--quick" in sys.argv
    torch.set_num_threads(os.cpu_count() or 1)
    print(f'"auto" takes {"oneDNN" if mkl_is_slow() else "PyTorch"} on this processor')
    results = {}
    for tokens, inside, outside in SIZES:
        x = torch.randn(tokens, inside, requires_grad=True)
        weight = torch.randn(outside, inside, requires_grad=True)
        bias = torch.randn(outside, requires_grad=True)
        grad = torch.randn(tokens, outside)

        def forward(backend: str, args: tuple[torch.Tensor, ...] = (x, weight, bias)) -> None:
            with torch.no_grad():
                linear(*args, backend)

        def both(
            backend: str,
            grad: torch.Tensor = grad,
            args: tuple[torch.Tensor, ...] = (x, weight, bias),
        ) -> None:
            linear(*args, backend).backward(grad)

        row = {}
        for what, call in (("forward", forward), ("forward and backward", both)):
            rivals = {name: (lambda n=name, c=call: c(n)) for name in ("onednn", "torch")}
            row[what] = compare(rivals, 5 if quick else 30)["torch"]["ratio"]
        results[f"{tokens} x {inside} to {outside}"] = row
        print(
            f"{tokens:>6} x {inside:>4} to {outside:>4}: "
            + ", ".join(f"{k} {v:.2f}x" for k, v in row.items())
        )
    if not quick:
        write("linear", {"ratios": results})


if __name__ == "__main__":
    main()
