"""Buffers that are computed from a module's sizes, and so are neither saved nor loaded."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from vitrail.ops.guard import guarded


@guarded
def register_computed(module: nn.Module, name: str, compute: Callable[[], Tensor]) -> None:
    """Registers a buffer that is computed: now, and whenever weights are loaded or initialized.

    A model may be built on the meta device or emptied, and filled later, so that no value of its
    construction remains. This buffer is then computed on the device of the parameters.

    Args:
        module: the module, which has parameters.
        name: name of the buffer.
        compute: function without arguments that returns it; it can be pickled with the module.

    Example:
        >>> import functools
        >>> layer = nn.Linear(2, 2, device="meta")
        >>> with torch.device("meta"):
        ...     register_computed(layer, "index", functools.partial(torch.arange, 2))
        >>> _ = layer.load_state_dict(nn.Linear(2, 2).state_dict(), assign=True)
        >>> layer.index
        tensor([0, 1])
    """
    module.register_buffer(name, compute(), persistent=False)
    functions: dict[str, Callable[[], Tensor]] = vars(module).setdefault("computed_buffers", {})
    if not functions:
        module.register_load_state_dict_post_hook(_after_loading)
    functions[name] = compute


@guarded
def compute_buffers(module: nn.Module) -> None:
    """Computes a module's registered buffers again, on the device of its first parameter.

    Args:
        module: any module; its children are left alone.

    Example:
        >>> compute_buffers(nn.Linear(2, 2))  # has none
    """
    for name, compute in getattr(module, "computed_buffers", {}).items():
        like = next(module.parameters())
        with torch.device(like.device):
            buffer = compute()
        setattr(module, name, buffer.to(like.dtype) if buffer.is_floating_point() else buffer)


def _after_loading(module: nn.Module, _incompatible_keys: object) -> None:
    compute_buffers(module)
