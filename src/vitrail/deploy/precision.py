"""The quickest way to run a model on this machine, chosen by measuring.

Half precision doubles the speed of a ViT-S on a CPU with bf16 instructions, does nothing for very
small models, and slows everything down on a CPU without them. No rule knows; a clock does.
"""

import copy
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from vitrail.layers.linear import Linear
from vitrail.models.base import Backbone

GAIN = 1.1  # what half precision must gain to be worth its rounding


class Choice(NamedTuple):
    """A model ready to run, and why it is this one."""

    model: nn.Module  # float images (B, C, H, W) → float32 logits
    precision: str  # "fp32" or "bf16"
    speedup: float  # over float32, as measured


class HalfLinear(nn.Module):
    """A linear layer in bfloat16 that takes whatever comes and gives bfloat16."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.to(torch.bfloat16), requires_grad=False)
        bias = linear.bias
        self.bias = None if bias is None else nn.Parameter(bias.to(torch.bfloat16), False)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) → bfloat16 (..., out)."""
        return F.linear(x.to(torch.bfloat16), self.weight, self.bias)


class HalfBlock(nn.Module):
    """A block whose products are in bfloat16, the convolutions' too; it gives float32."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        for module in block.modules():
            for name, child in module.named_children():
                if isinstance(child, nn.Linear) and type(child) in (nn.Linear, Linear):
                    # cast once, not in every call
                    setattr(module, name, HalfLinear(child))
        self.block = block

    def forward(self, *inputs: Any) -> Any:
        """What the block takes → what it gives."""
        kind = next(t.device.type for t in tree_leaves(inputs) if isinstance(t, Tensor))
        with torch.autocast(kind, torch.bfloat16):
            outputs = self.block(*inputs)
        return tree_map(_widened, outputs)


def _widened(value: Any) -> Any:
    half = isinstance(value, Tensor) and value.dtype == torch.bfloat16
    return value.float() if half else value


def halve(model: Backbone) -> Backbone:
    """A copy whose blocks multiply in bfloat16, where nearly all the time goes.

    The sums between blocks and the head stay float32: rounded at every block, the stream of
    features would drift, and with it the choice between classes that are close.
    """
    half = copy.deepcopy(model).eval().requires_grad_(False)
    half.blocks = nn.ModuleList(HalfBlock(block) for block in half.blocks)
    return half


def fastest(model: Backbone, images: Tensor, rounds: int = 5) -> Choice:
    """Times a model in float32 and in bfloat16 on a batch like those to come → the quicker one.

    images: float (B, C, H, W). Takes a few seconds. `model` is put in eval mode, and
    otherwise left as it is; where
    bfloat16 does not gain at least a tenth, float32 is chosen.
    """
    model.eval()
    half = halve(model)
    plain, quick = _seconds(model, images, rounds), _seconds(half, images, rounds)
    speedup = plain / quick
    if speedup >= GAIN:
        return Choice(half, "bf16", speedup)
    return Choice(model, "fp32", 1.0)


@torch.inference_mode()
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
