"""`layers/window.py` holds `shift_mask`; `models/swin.py` does the rest."""

import torch
from torch import nn

import vitrail
from vitrail.layers import window as library
from vitrail.learn import Case, Claim, Task


def attend(windows, mask):
    """Attention without parameters that depends on the order of the cells."""
    order = torch.arange(windows.shape[1], device=windows.device).to(windows.dtype)
    logits = windows @ windows.transpose(1, 2) + 0.3 * (order[:, None] - 2 * order)
    mask = mask.repeat(len(windows) // len(mask), 1, 1)
    return (logits + mask).softmax(dim=-1) @ windows


def maps(batch: int, size: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]):
    return lambda: (torch.randn(batch, *size, 3), window, shift, attend)


def reference(x, window, shift, attend):
    size = (x.shape[1], x.shape[2])
    mask = library.shift_mask(size, window, shift).to(x)
    rolled = x.roll((-shift[0], -shift[1]), dims=(1, 2))
    windows = attend(library.partition(rolled, window), mask)
    return library.unpartition(windows, window, size).roll(shift, dims=(1, 2))


class InSwin(nn.Module):
    """The library's mixer, its map shifted by the learner's function."""

    def __init__(self, shifted, mixer: nn.Module) -> None:
        super().__init__()
        self.shifted, self.mixer = shifted, mixer

    def forward(self, x):
        def attend(windows, mask):
            bias = (self.mixer.bias() + mask[:, None]).repeat(len(windows) // len(mask), 1, 1, 1)
            return self.mixer.attention(windows, bias=bias)

        return self.shifted(x, self.mixer.window, self.mixer.shift, attend)


def in_swin(shifted):
    """How much the logits of a Swin change when the learner's function shifts its windows."""
    model = vitrail.Swin(
        (16, 32), 4, num_classes=3, dim=(8,), depth=(2,), heads=(2,), window=2
    ).eval()
    images = torch.randn(2, 3, 16, 32)
    with torch.no_grad():
        before = model(images)
        mixer = model.get_submodule("blocks.0.blocks.1.mixer")
        model.set_submodule("blocks.0.blocks.1.mixer", InSwin(shifted, mixer))
        return model(images) - before


def mask_values(shifted):
    """How many entries of the mask are 0, and how many -inf."""
    counts = []

    def look(windows, mask):
        counts.extend([int((mask == 0).sum()), int(mask.isneginf().sum())])
        return windows

    shifted(torch.zeros(1, 4, 6, 3), (2, 2), (1, 1), look)
    return counts


TASK = Task(
    subject="shifted",
    cases=(
        Case("B=2, H=4, W=6, window=(2, 2), shift=(1, 1)", maps(2, (4, 6), (2, 2), (1, 1))),
        Case("B=1, H=6, W=8, window=(3, 4), shift=(1, 2)", maps(1, (6, 8), (3, 4), (1, 2))),
        Case("B=2, H=8, W=4, window=(4, 2), shift=(2, 1)", maps(2, (8, 4), (4, 2), (2, 1))),
    ),
    reference=reference,
    claims=(
        Claim(
            "The mask holds 0 and -inf, and nothing else.",
            "掩码里只有 0 和 -inf，没有别的数。",
            mask_values,
        ),
        Claim(
            "In a Swin of the library the logits stay the same.",
            "换进库里的 Swin 之后，logits 应当不变。",
            in_swin,
            stage="swap",
            tolerance=1e-4,
        ),
    ),
)
