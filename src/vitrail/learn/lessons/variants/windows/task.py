"""`layers/window.py` holds `partition` and `unpartition`."""

import torch

from vitrail.layers import window as library
from vitrail.learn import Case, Claim, Task


def mix(windows):
    """Depends on the order of the cells in a window and of the windows."""
    number = torch.arange(len(windows), device=windows.device)[:, None, None]
    return windows.cumsum(dim=1) + windows.tanh() * number


def maps(batch: int, height: int, width: int, dim: int, window: tuple[int, int]):
    return lambda: (torch.randn(batch, height, width, dim), window, mix)


def reference(x, window, mix):
    windows = mix(library.partition(x, window))
    return library.unpartition(windows, window, (x.shape[1], x.shape[2]))


def unchanged(in_windows):
    """What a map loses on the way into windows and back."""
    x = torch.randn(2, 6, 8, 3)
    return in_windows(x, (3, 2), lambda windows: windows) - x


TASK = Task(
    subject="in_windows",
    cases=(
        Case("B=2, H=4, W=6, window=(2, 2)", maps(2, 4, 6, 3, (2, 2))),
        Case("B=1, H=6, W=4, window=(3, 2)", maps(1, 6, 4, 2, (3, 2))),
        Case("B=3, H=2, W=4, window=(2, 4)", maps(3, 2, 4, 2, (2, 4))),
        Case("B=2, H=3, W=6, window=(1, 3)", maps(2, 3, 6, 2, (1, 3))),
    ),
    reference=reference,
    claims=(
        Claim(
            "If nothing happens within the windows, the map comes back unchanged.",
            "窗口内什么也不做时，特征图应原样还原。",
            unchanged,
        ),
    ),
)
