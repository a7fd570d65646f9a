"""`train/seeds.py` seeds all sources of a run."""

import torch

from vitrail.learn import Case, Claim, Task


def call(seed: int, cuda: bool, mps: bool):
    return lambda: (seed, cuda, mps)


def global_numbers(environment_report):
    """What others draw after a report."""
    torch.manual_seed(11)
    environment_report(5, False, False)
    return torch.rand(2)


TASK = Task(
    subject="environment_report",
    cases=(
        Case("seed 1, CPU", call(1, False, False)),
        Case("seed 2, CUDA", call(2, True, False)),
        Case("seed 3, MPS", call(3, False, True)),
        Case("seed 4, CUDA, MPS", call(4, True, True)),
    ),
    gradients=False,
    dtype=False,
    meta=False,
    claims=(
        Claim(
            "The global random numbers go on as if there had been no report.",
            "全局随机数不受影响，就像没有调用过一样。",
            global_numbers,
        ),
    ),
)
