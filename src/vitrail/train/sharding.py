"""Fully sharded data parallelism (FSDP2, Zhao et al. 2023, https://arxiv.org/abs/2304.11277).

Each process keeps a share of every parameter, and of its gradient, its optimizer state and its EMA.
A block is gathered while it computes, and its gradients are summed onto the shares.

Two kinds of parameters need more than torch's `fully_shard`. Those without axes, such as CLIP's
scale, cannot be shared out: every process has them, and their gradients are averaged here. Batch
norms keep statistics of their own batches: those of the first process count, as in DDP.
"""

import copy
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal, TypeGuard, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from vitrail.errors import ConfigError
from vitrail.layers.batch_norms import BATCH_NORMS
from vitrail.methods import distributed
from vitrail.methods.base import Method

# Shares of tensors are imported where they are needed, for that takes most of a second.
if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

ELEMENTWISE = (
    "AdamW",
    "Adam",
    "SGD",
    "RMSprop",
)  # optimizers of which a share of a parameter knows enough


class Sharding:
    """Shares a method out over all processes, and puts it together again.

    Args:
        method: the method, with its initial weights on its device.
        dtype: dtype in which parameters are gathered; gradients are summed in float32. None for
            the parameters' own.

    Raises:
        ConfigError: parameters are not contiguous in memory.

    Example:
        >>> callable(Sharding.apply)  # of one that `share_out` makes
        True
    """

    def __init__(self, method: Method, dtype: torch.dtype | None = None) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy

        for name, parameter in method.named_parameters():
            if not parameter.is_contiguous():
                raise ConfigError(
                    f"train.sharding='fsdp': {name} is not contiguous: set "
                    "train.channels_last=false."
                )
        device = next(method.parameters()).device
        self.mesh = init_device_mesh(device.type, (distributed.world_size(),))
        # Activations keep their dtype, for autocast chooses it.
        reduce = None if dtype is None else torch.float32
        self.policy = MixedPrecisionPolicy(dtype, reduce, cast_forward_inputs=False)
        self._skeleton = _without_weights(method)
        self._scalars: list[nn.Parameter] = []
        self._norms: list[nn.Module] = []

    def apply(self, method: Method, optimizer: Optimizer | None = None) -> None:
        """Shares out the parameters of a method in place.

        Args:
            method: the method, or the EMA of it.
            optimizer: of its parameters, which has made no step; it optimizes the shares then.

        Raises:
            ConfigError: the optimizer needs whole parameters.
        """
        from torch.distributed.fsdp import fully_shard

        if optimizer is not None and type(optimizer).__name__ not in ELEMENTWISE:
            raise ConfigError(
                f"train.sharding='fsdp' shares out parameters, and {type(optimizer).__name__} "
                "needs whole ones: set optim.optimizer to adamw or sgd, or leave sharding out."
            )
        # Blocks may return views, for no model changes them in place; a test of all models notices.
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)
        scalars = {parameter for parameter in method.parameters() if parameter.ndim == 0}
        names = {id(parameter): name for name, parameter in method.named_parameters()}
        for unit in (*units(method), method):
            fully_shard(unit, mesh=self.mesh, mp_policy=self.policy, ignored_params=scalars)
        if optimizer is None:
            return
        self._scalars = [p for p in method.parameters() if p in scalars and p.requires_grad]
        self._norms = [m for m in method.modules() if isinstance(m, BATCH_NORMS)]
        shares = dict(method.named_parameters())
        for group in optimizer.param_groups:
            group["params"] = [shares[names[id(parameter)]] for parameter in group["params"]]

    def reduce_scalars(self) -> None:
        """Averages the gradients of parameters without axes over all processes."""
        gradients = [p.grad for p in self._scalars if p.grad is not None]
        if gradients:
            for gradient, mean in zip(
                gradients, distributed.mean(torch.stack(gradients)), strict=True
            ):
                gradient.copy_(mean)

    def after_step(self) -> None:
        """Gives every process the first one's statistics of batch norms."""
        for norm in self._norms:
            for buffer in norm.buffers():
                dist.broadcast(buffer, src=0)

    def whole(self, method: Method) -> Method:
        """A plain copy of a method, with all weights. Every process calls it.

        Args:
            method: a method that `apply` has shared out.

        Returns:
            A method in evaluation or training mode, as the other.
        """
        copied = copy.deepcopy(self._skeleton)
        for module, other in zip(copied.modules(), method.modules(), strict=True):
            _copy_settings(other, module)
        copied.load_state_dict(
            {name: full(tensor) for name, tensor in method.state_dict().items()}, assign=True
        )
        return copied


def units(module: nn.Module) -> Iterator[nn.Module]:
    """The modules that are gathered as one: elements of lists of modules that hold no lists.

    Args:
        module: a method.

    Yields:
        Modules with parameters.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=3, heads=1, mlp_dim=8)
        >>> len(list(units(model)))
        3
    """
    for child in module.children():
        inner = list(units(child))
        if inner:
            yield from inner
        elif isinstance(module, nn.ModuleList) and next(child.parameters(), None) is not None:
            yield child


def local(tensor: Tensor) -> Tensor:
    """This process's share of a tensor.

    Args:
        tensor: any tensor.

    Returns:
        The share, which may be empty; a plain tensor as it is.

    Example:
        >>> local(torch.ones(2))
        tensor([1., 1.])
    """
    return tensor.to_local() if _is_shared(tensor) else tensor


def full(tensor: Tensor) -> Tensor:
    """The whole of a tensor, copied. Every process calls it.

    Args:
        tensor: any tensor.

    Returns:
        A plain tensor without a gradient.

    Example:
        >>> full(torch.ones(2))
        tensor([1., 1.])
    """
    tensor = tensor.detach()
    return tensor.full_tensor() if _is_shared(tensor) else tensor.clone()


def share(whole: Tensor, like: Tensor) -> Tensor:
    """A tensor that every process has as a whole, shared out like another.

    Args:
        whole: the tensor.
        like: a tensor of the same shape, shared out or plain.

    Returns:
        `whole`, or shares of it.

    Example:
        >>> share(torch.ones(2), like=torch.zeros(2))
        tensor([1., 1.])
    """
    if not _is_shared(like):
        return whole
    from torch.distributed.tensor import distribute_tensor

    moved = whole.to(like.device)
    return distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)


def total_norm(gradients: Iterable[Tensor]) -> Tensor:
    """The norm of gradients, of which some may be shared out. Every process calls it.

    Args:
        gradients: of all parameters that have one.

    Returns:
        (), the same in every process.

    Example:
        >>> total_norm([torch.tensor([3.0]), torch.tensor([4.0])])
        tensor(5.)
    """
    tensors = list(gradients)
    if not tensors:
        return torch.zeros(())
    parts = [[t for t in tensors if _is_shared(t) == sharded] for sharded in (False, True)]
    norms = [full(nn.utils.get_total_norm(part)) for part in parts if part]
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))


def share_out(
    method: Method,
    optimizer: Optimizer,
    ema: AveragedModel | None = None,
    precision: Literal["fp32", "bf16", "fp16"] = "fp32",
) -> Sharding:
    """Shares out a method, its optimizer and its EMA in place.

    Args:
        method: the method, with its initial weights on its device.
        optimizer: of its parameters, which has made no step.
        ema: EMA of the method's weights, or None.
        precision: in which the method computes.

    Returns:
        What shares them out.

    Raises:
        ConfigError: the optimizer, the precision or the layout in memory does not fit.

    Example:
        >>> from vitrail.train.trainer import Trainer  # calls it for `sharding="fsdp"`
        >>> callable(share_out)
        True
    """
    if precision == "fp16":
        raise ConfigError(
            "train.precision='fp16' scales gradients, which sharding does not support: use bf16."
        )
    sharding = Sharding(method, torch.bfloat16 if precision == "bf16" else None)
    sharding.apply(method, optimizer)
    if ema is not None:
        sharding.apply(cast(Method, ema.module))
    return sharding


def _is_shared(tensor: Tensor) -> "TypeGuard[DTensor]":
    module = sys.modules.get("torch.distributed.tensor")  # whose tensors cannot be without it
    return module is not None and isinstance(tensor, module.DTensor)


def _copy_settings(source: nn.Module, target: nn.Module) -> None:
    """Copies plain attributes, such as those that a schedule changes."""
    for name, value in vars(source).items():
        if not name.startswith("_") and isinstance(value, bool | int | float | str):
            setattr(target, name, value)


def _without_weights(method: Method) -> Method:
    """A copy whose parameters take no memory."""
    empty = {
        id(p): nn.Parameter(p.to("meta"), requires_grad=p.requires_grad)
        for p in method.parameters()
    }
    return copy.deepcopy(method, empty)
