"""The fastest way to run a model on this machine, measured: fused, in float32 or in bfloat16.

bfloat16 doubles the speed of a ViT-S on a CPU with bf16 instructions, gains nothing for very small
models, and slows everything down on a CPU without them. So the choice is measured.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitrail.arguments import checked
from vitrail.deploy.fuse import fuse, module_in
from vitrail.errors import ConfigError
from vitrail.layers.linear import Linear
from vitrail.models.base import Backbone
from vitrail.values import PositiveInt, check_value

GAIN = 1.1  # speed of bfloat16 relative to float32 from which its rounding is accepted


class FastestModel(NamedTuple):
    """A model that is ready to run, and why it was selected.

    Attributes:
        model: module from float images (B, C, H, W) to float32 logits.
        precision: "fp32" or "bf16".
        speedup: measured speed relative to the original model.

    Example:
        >>> FastestModel(nn.Identity(), "bf16", 2.0).precision
        'bf16'
    """

    model: nn.Module
    precision: str
    speedup: float


class HalfLinear(nn.Module):
    """A linear layer with weights in bfloat16, which casts its input.

    Args:
        linear: the layer in another precision; its weights are copied.

    Example:
        >>> HalfLinear(nn.Linear(3, 2))(torch.zeros(1, 3)).dtype
        torch.bfloat16
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = nn.Parameter(linear.weight.to(torch.bfloat16), requires_grad=False)
        bias = linear.bias
        self.bias = None if bias is None else nn.Parameter(bias.to(torch.bfloat16), False)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in) → bfloat16 (..., out)."""
        return F.linear(x.to(torch.bfloat16), self.weight, self.bias)


class HalfBlock(nn.Module):
    """A block whose products and convolutions are computed in bfloat16; it returns float32.

    Args:
        block: the block; its linear layers are replaced in place by `HalfLinear`.

    Example:
        >>> HalfBlock(nn.Sequential(nn.Linear(3, 2)))(torch.zeros(1, 3)).dtype
        torch.float32
    """

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        for module in block.modules():
            for name, child in module.named_children():
                # Subclasses with a forward of their own are left to autocast.
                if isinstance(child, nn.Linear) and type(child) in (nn.Linear, Linear):
                    # Cast once: autocast would cast the weights in every call.
                    setattr(module, name, HalfLinear(child))
        self.halved = block

    def forward(self, *inputs: Any) -> Any:
        """inputs of the block → its outputs, in float32."""
        device = next((p.device.type for p in self.halved.parameters()), "cpu")
        with torch.autocast(device, torch.bfloat16):
            outputs = self.halved(*inputs)
        return _to_float32(outputs)


def _to_float32(outputs: Any) -> Any:
    """Casts bfloat16 tensors, in tuples too."""
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.dtype == torch.bfloat16 else outputs
    if isinstance(outputs, tuple):
        entries = map(_to_float32, outputs)
        # A named tuple takes its fields one by one.
        return type(outputs)(*entries) if hasattr(outputs, "_fields") else tuple(entries)
    return outputs


@checked
def halve(model: Backbone) -> Backbone:
    """A fused copy whose blocks compute in bfloat16, where nearly all the time is spent.

    The residual stream between blocks, and the head, remain float32: rounded after every block,
    features would drift, and with them the order of classes whose logits are close.

    Args:
        model: the model; it is left unchanged.

    Returns:
        A copy in evaluation mode whose parameters take no gradients; it returns float32 logits.

    Raises:
        ConfigError: it is no model of Vitrail.

    Example:
        >>> model = vitrail.ViT(32, 8, num_classes=5, dim=8, depth=1, heads=2, mlp_dim=16)
        >>> halve(model)(torch.zeros(1, 3, 32, 32)).dtype
        torch.float32
    """
    if not isinstance(module_in(model), Backbone):
        raise ConfigError(f"{type(model).__name__} is no model of Vitrail: only these are halved.")
    half = fuse(model)
    half.blocks = nn.ModuleList(HalfBlock(block) for block in half.blocks)
    return half


@checked
def fastest(model: Backbone, images: Tensor, rounds: int = 5) -> FastestModel:
    """Fuses a model, times it in float32 and in bfloat16, and selects the faster one.

    bfloat16 must gain at least a tenth over float32 to be selected. Measuring takes a few seconds.

    Args:
        model: the model; it is put into evaluation mode, and else left unchanged.
        images: (B, C, H, W), preprocessed, a batch like those to come.
        rounds: number of timed runs of each, of which the fastest counts.

    Returns:
        A fused copy of the model, its precision, and its speed relative to the model itself.

    Raises:
        ConfigError: it is no model of Vitrail, or `rounds` is no whole number of at least 1.

    Example:
        >>> model = vitrail.ViT(32, 8, num_classes=5, dim=8, depth=1, heads=2, mlp_dim=16)
        >>> fastest(model, torch.zeros(1, 3, 32, 32), rounds=1).precision in ("fp32", "bf16")
        True
    """
    rounds = check_value("rounds", rounds, PositiveInt)
    fused, half = fuse(module_in(model).eval()), halve(model)
    unfused_seconds, fused_seconds, half_seconds = (
        _seconds(candidate, images, rounds) for candidate in (model, fused, half)
    )
    if fused_seconds / half_seconds >= GAIN:
        return FastestModel(half, "bf16", unfused_seconds / half_seconds)
    return FastestModel(fused, "fp32", unfused_seconds / fused_seconds)


@torch.inference_mode()
def _seconds(call: Callable[[Tensor], Tensor], images: Tensor, rounds: int) -> float:
    """The least of several runs, after one to warm up; waits for a GPU to finish."""
    least = float("inf")
    for number in range(rounds + 1):
        begin = time.perf_counter()
        call(images)
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)
        if number:
            least = min(least, time.perf_counter() - begin)
    return least
