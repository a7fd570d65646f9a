"""The quickest way to run a model on this machine, chosen by measuring.

Half precision doubles the speed of a ViT-S on a CPU with bf16 instructions, does nothing for very
small models, and slows everything down on a CPU without them. No rule knows; a clock does.
"""

import copy
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vitrail.models.base import Backbone

GAIN = 1.1  # what half precision must gain to be worth its rounding


class Choice(NamedTuple):
    """A model ready to run, and why it is this one."""

    model: nn.Module  # float images (B, C, H, W) → float32 logits
    precision: str  # "fp32" or "bf16"
    speedup: float  # over float32, as measured


class HalfPrecision(nn.Module):
    """A model in bfloat16 from images to pooled features; its head stays float32.

    The head's logits decide between classes that are close, and cost next to nothing.
    """

    def __init__(self, model: Backbone) -> None:
        super().__init__()
        head, model.head = model.head, nn.Identity()
        self.body = copy.deepcopy(model).to(torch.bfloat16)
        model.head = head
        self.head = copy.deepcopy(head)

    def forward(self, images: Tensor) -> Tensor:
        """images float (B, C, H, W) → logits float32 (B, classes)."""
        return self.head(self.body(images.to(torch.bfloat16)).float())


@torch.inference_mode()
def fastest(model: Backbone, images: Tensor, rounds: int = 5) -> Choice:
    """Times a model in float32 and in bfloat16 on a batch like those to come → the quicker one.

    images: float (B, C, H, W). Takes a few seconds. `model` itself is left as it is; where
    bfloat16 does not gain at least a tenth, float32 is chosen.
    """
    model.eval()
    half = HalfPrecision(model).eval()
    plain, quick = _seconds(model, images, rounds), _seconds(half, images, rounds)
    speedup = plain / quick
    if speedup >= GAIN:
        return Choice(half, "bf16", speedup)
    return Choice(model, "fp32", 1.0)


def _seconds(call: Callable[[Tensor], Tensor], images: Tensor, rounds: int) -> float:
    """The least of several, after one to warm up; waits for a GPU to be done."""
    least = float("inf")
    for number in range(rounds + 1):
        begin = time.perf_counter()
        call(images)
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)
        if number:
            least = min(least, time.perf_counter() - begin)
    return least
