"""`layers/position.py` has it for one, two and three axes."""

from vitrail.layers.position import sincos_positions
from vitrail.learn import Case, Task


def reference(height: int, width: int, dim: int, temperature: float = 10_000.0):
    return sincos_positions((height, width), dim, temperature)


def sizes(height: int, width: int, dim: int, **more):
    return {"height": height, "width": width, "dim": dim, **more}


TASK = Task(
    subject="positions",
    cases=(
        Case("3 x 2, D=12", tuple, sizes(3, 2, 12)),
        Case("1 x 5, D=8", tuple, sizes(1, 5, 8)),
        Case("4 x 4, D=16, T=100", tuple, sizes(4, 4, 16, temperature=100.0)),
    ),
    reference=reference,
    gradients=False,
    meta=False,
)
