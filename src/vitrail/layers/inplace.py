"""When an activation or a norm may overwrite its input: where no gradient and no hook reads it.

On a CPU the memory of a second tensor is not free: the operating system clears it page by page,
which takes longer than the activation itself.
"""

import torch
from torch import nn
from torch.nn.modules import module as torch_module

from vitrail.layers.linear import Linear

# Layers that return a new tensor and do not keep it. A layer put in their place, such as an
# adapter, may.
PRODUCERS = (nn.Linear, Linear, nn.Conv2d)


def overwriting_is_safe() -> bool:
    """Whether a tensor that only one function sees may be overwritten by it.

    Returns:
        True without gradients, unless the model is compiled, exported or traced: a trace is checked
        without gradients, even one that was made with them.

    Example:
        >>> overwriting_is_safe()
        False
    """
    recompiled = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined]
    return not (torch.is_grad_enabled() or recompiled)


def may_overwrite(producer: nn.Module, consumer: nn.Module) -> bool:
    """Whether nothing but `consumer` reads the output of `producer`.

    Args:
        producer: module whose output is the input of `consumer`.
        consumer: module that would overwrite its input.

    Returns:
        True without gradients, if the producer is a linear layer or a convolution, neither module
        has hooks that see this tensor, and nobody compiles, traces or exports the model.

    Example:
        >>> with torch.no_grad():
        ...     may_overwrite(nn.Linear(2, 2), nn.ReLU())
        True
        >>> may_overwrite(nn.Linear(2, 2), nn.ReLU())
        False
    """
    if not overwriting_is_safe() or type(producer) not in PRODUCERS:
        return False
    # private: without these, a tensor that a hook stored would be overwritten
    # (tests/layers/test_inplace.py).
    hooks = producer._forward_hooks or consumer._forward_hooks or consumer._forward_pre_hooks
    return not (hooks or torch_module._has_any_global_hook())  # private: as above
