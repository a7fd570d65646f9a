"""Time of a forward pass of one image, for every variant that `vitrail models --for` recommends.

python -m benchmarks.recommended [--quick]

Float32, untrained weights, all threads; the variants take turns. `make docs` hands the figures to
the package and to docs/en/choosing.md. Needs an idle machine and about three minutes.
"""

import os
import sys
from collections.abc import Callable

import torch
from torch import Tensor

import vitrail
from benchmarks.common import RESULTS, compare, show, write
from vitrail.models.purposes import MODEL_PURPOSES

torch.set_num_threads(os.cpu_count() or 1)


def forward(name: str) -> Callable[[], Tensor]:
    """A forward pass of a variant's model, in evaluation mode, for one image of its size."""
    model = vitrail.create_model(name).eval()
    image = torch.randn(1, model.channels, *model.image_size)

    @torch.inference_mode()
    def call() -> Tensor:
        return model(image)

    return call


def main() -> None:
    """Times the variants and writes the figures."""
    names = sorted({name for purpose in MODEL_PURPOSES.values() for name in purpose.reasons})
    rounds = 2 if "--quick" in sys.argv else 15
    table = compare({name: forward(name) for name in names}, rounds)
    show("one image, float32", table, images=1)
    if "--quick" not in sys.argv:
        seconds = {name: row["median"] for name, row in table.items()}
        write("recommended", {"seconds": seconds}, report=False)
        print(f"written: {RESULTS.name}/recommended.json")


if __name__ == "__main__":
    main()
