"""`layers/mamba.py` has the same choices as its keyword `fusion`."""

import torch
from torch import nn

from vitrail.layers.mamba import Mamba
from vitrail.learn import Case, Claim, Task


def directions(batch: int, count: int, dim: int):
    return lambda: (torch.randn(batch, count, dim), torch.randn(batch, count, dim))


def starting_weight(Fusion):
    """What a fresh gate makes of ones and zeros: the mean, as the library's begins."""
    gate = Mamba(4, "v2", fusion="gate").gate
    ones, zeros = torch.ones(1, 2, 4), torch.zeros(1, 2, 4)
    return [Fusion(4, "gate")(ones, zeros), gate.detach()]


def parameters(Fusion):
    """How many each kind has."""
    kinds = ("mean", "sum", "gate", "concat")
    return [sum(p.numel() for p in Fusion(4, kind).parameters()) for kind in kinds]


def in_the_library(Fusion):
    """Both directions of a small mixer, joined by the learner and by the library."""
    torch.manual_seed(0)
    x, results = torch.randn(2, 5, 8), []
    for kind in ("mean", "sum", "gate"):
        mixer = Mamba(8, "v2", fusion=kind)
        mixer.out_proj = nn.Identity()  # so that what the directions give is seen
        if kind == "gate":
            nn.init.constant_(mixer.gate, 0.7)
        with torch.no_grad():
            joined = mixer(x)
            alone = []
            for k in range(2):  # a direction by itself: the weight of the other is 0
                single = Mamba(8, "v2", fusion="sum")
                single.out_proj = nn.Identity()
                state = {name: value.clone() for name, value in mixer.state_dict().items()}
                state.pop("gate", None)
                single.load_state_dict(state, strict=False)
                single.D[1 - k] = 0
                single.x_proj[1 - k, -single.d_state :] = 0
                alone.append(single(x))
            fusion = Fusion(16, kind)
            for parameter in fusion.parameters():
                parameter.fill_(0.7)
            results.append(fusion(alone[0], alone[1].flip([1])) - joined)
    return results


TASK = Task(
    subject="Fusion",
    cases=(
        Case("mean", directions(2, 5, 4), {"dim": 4, "kind": "mean"}),
        Case("sum", directions(1, 4, 3), {"dim": 3, "kind": "sum"}),
        Case("gate", directions(3, 3, 6), {"dim": 6, "kind": "gate"}),
        Case("concat", directions(2, 6, 4), {"dim": 4, "kind": "concat"}),
    ),
    claims=(
        Claim(
            "A fresh gate gives the mean of both directions.",
            "刚初始化的 gate 应给出两个方向的平均。",
            starting_weight,
        ),
        Claim(
            "mean and sum have no parameter, a gate has 1, concat has 2 D · D.",
            "mean 与 sum 没有参数，gate 有 1 个，concat 有 2 D · D 个。",
            parameters,
        ),
        Claim(
            "The directions of the library's mixer, joined by you, give its output.",
            "用你的融合来合并库中 mixer 的两个方向，应得到它的输出。",
            in_the_library,
            stage="swap",
            tolerance=1e-4,
        ),
    ),
)
