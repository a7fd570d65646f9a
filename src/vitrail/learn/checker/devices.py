"""Tensors that code makes on the CPU although its inputs may be elsewhere, found on the CPU.

The meta device would show them, too, but it costs a second: many operators there are written in
Python and import PyTorch's compiler.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vitrail.learn.checker.compare import leaves

MOVING = {"to", "type_as", "cuda", "cpu"}
INDEXING = {"__getitem__", "__setitem__"}  # take indices from the CPU


class WrongDeviceError(RuntimeError):
    """A tensor that was made without a device meets one that comes from the inputs.

    Example:
        >>> issubclass(WrongDeviceError, RuntimeError)
        True
    """


class DeviceMode(TorchFunctionMode):
    """Follows the tensors that are made without saying on which device.

    Attributes:
        homeless: those tensors, by id, and what was computed from them alone.

    Example:
        >>> x = torch.ones(3)
        >>> with DeviceMode():
        ...     y = x + torch.arange(3, device=x.device)
        >>> with DeviceMode():
        ...     x + torch.arange(3)
        Traceback (most recent call last):
        vitrail.learn.checker.devices.WrongDeviceError
    """

    def __init__(self) -> None:
        super().__init__()
        self.homeless: dict[int, Tensor] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        _types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Calls the operator, and looks at what goes in and comes out."""
        keywords = kwargs or {}
        output = func(*args, **keywords)
        tensors = _tensors([*args, *keywords.values()])
        name = getattr(func, "__name__", "")
        if not tensors:
            if keywords.get("device") is None:
                self._note(output)
        elif name in MOVING:
            self._move(output, tensors[0], [*args[1:], *keywords.values()])
        elif name not in INDEXING or self._is_homeless(tensors[0]):
            homeless = [t for t in tensors if self._is_homeless(t)]
            if len(homeless) == len(tensors):
                self._note(output)
            elif any(t.ndim for t in homeless):  # single numbers may be anywhere
                raise WrongDeviceError
        return output

    def _note(self, output: Any) -> None:
        for tensor in _tensors([output]):
            self.homeless[id(tensor)] = tensor

    def _is_homeless(self, tensor: Tensor) -> bool:
        return id(tensor) in self.homeless

    def _move(self, output: Any, source: Tensor, arguments: Iterable[Any]) -> None:
        """`.to(x)` and `.to(x.device)` give a tensor a device, `.to(dtype)` does not."""
        if not self._is_homeless(source):
            return
        if any(isinstance(a, Tensor | torch.device | str) for a in arguments):
            self.homeless.pop(id(output), None)
        else:
            self._note(output)


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for _path, leaf in leaves(values) if isinstance(leaf, Tensor)]


def check_devices(function: Callable[..., Any], inputs: tuple[Any, ...]) -> None:
    """Calls a function and checks that whatever it makes follows its inputs.

    Args:
        function: the function.
        inputs: its arguments.

    Raises:
        WrongDeviceError: it makes a tensor that does not.

    Example:
        >>> check_devices(lambda x: x + torch.zeros_like(x), (torch.ones(2),))
    """
    mode = DeviceMode()
    with torch.no_grad(), mode:
        output = function(*inputs)
    if any(id(tensor) in mode.homeless for tensor in _tensors([output])):
        raise WrongDeviceError
