"""`layers/position.py` has it for any number of axes."""

from vitrail.layers.position import sincos_positions
from vitrail.learn import Case, Task


def reference(depth: int, height: int, width: int, dim: int, temperature: float = 10_000.0):
    return sincos_positions((depth, height, width), dim, temperature)


def sizes(depth: int, height: int, width: int, dim: int, **more):
    return {"depth": depth, "height": height, "width": width, "dim": dim, **more}


TASK = Task(
    subject="volume_positions",
    cases=(
        Case("2 x 3 x 4, D=20", tuple, sizes(2, 3, 4, 20)),
        Case("3 x 1 x 2, D=12", tuple, sizes(3, 1, 2, 12)),
        Case("2 x 2 x 2, D=24, T=100", tuple, sizes(2, 2, 2, 24, temperature=100.0)),
    ),
    reference=reference,
    gradients=False,
    meta=False,
)
