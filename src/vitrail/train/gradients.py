"""The gradients of a step, also of batches that do not fit into memory as a whole."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from vitrail.errors import ConfigError
from vitrail.layers.batch_norms import BATCH_NORMS
from vitrail.memory import free_memory, is_out_of_memory
from vitrail.messages import _
from vitrail.methods import distributed
from vitrail.methods.base import Batch, Loss, Method
from vitrail.train.pieces import pieces
from vitrail.train.sharding import Sharding, local, total_norm


def fitting(optimizer: Optimizer, method: nn.Module) -> Optimizer:
    """The optimizer, which must be one of the method's parameters.

    Args:
        optimizer: an optimizer.
        method: what it optimizes.

    Returns:
        The same optimizer.

    Raises:
        ConfigError: none of its parameters is the method's.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> fitting(torch.optim.SGD(layer.parameters()), nn.Linear(3, 2))
        Traceback (most recent call last):
        vitrail.errors.ConfigError: the optimizer has no parameter of this Linear: ...
    """
    own = {id(parameter) for parameter in method.parameters()}
    if not any(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise ConfigError(
            f"the optimizer has no parameter of this {type(method).__name__}: make it of "
            "method.parameters(), or of train.parameter_groups(method, ...)."
        )
    return optimizer


class Gradients:
    """Computes the gradients of a step.

    A batch that does not fit into memory is computed in parts, whose gradients add up to its own.
    Several processes find out before their first step, and take as many parts as the one that
    needs the most. If memory is too small for one of them later, or with sharding, they stop: the
    others already wait for its gradients.

    Args:
        model: the method, wrapped for data-parallel training; a batch → (loss, metrics).
        accelerator: of the processes.
        dtype: of autocast; None for none.
        scaler: the scaler of half-precision gradients, or None.
        sharding: what shares out the parameters, or None.
        divisible: whether the loss of a batch is the mean over its parts.
        tell: is called with a line when batches are divided.

    Example:
        >>> from vitrail.methods.supervised import Supervised
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=1, mlp_dim=8)
        >>> gradients = Gradients(Supervised(model), Accelerator(cpu=True))
        >>> batch = Batch(images=torch.zeros(4, 3, 8, 8), labels=torch.tensor([0, 1, 0, 1]))
        >>> sorted(gradients([batch], seed=0))
        ['loss', 'top1']
    """

    def __init__(
        self,
        model: nn.Module,
        accelerator: Accelerator,
        dtype: torch.dtype | None = None,
        scaler: GradScaler | None = None,
        sharding: Sharding | None = None,
        *,
        divisible: bool = True,
        tell: Callable[[str], None] = print,
    ) -> None:
        self.model, self.accelerator, self.sharding = model, accelerator, sharding
        self.dtype, self.scaler, self.tell = dtype, scaler, tell
        several = accelerator.num_processes > 1
        self.divisible = divisible and not several
        self.tries = divisible and several and sharding is None  # before the first step
        self.parts = 1  # of each batch

    def __call__(self, batches: Sequence[Batch], seed: int) -> dict[str, Tensor]:
        """Adds the gradients of batches to those of the parameters.

        Args:
            batches: of one step, whose gradients are averaged.
            seed: of the draws, where batches are divided.

        Returns:
            Means over the batches: "loss" and the method's metrics.
        """
        if self.tries:
            self._try(batches[0], seed)
        while True:
            try:
                sums = self._sum(self._divided(batches, seed), len(batches))
            except (RuntimeError, MemoryError) as problem:
                if not self._may_divide(problem, batches[0]) or not self.divisible:
                    raise
            else:
                if self.sharding is not None:
                    self.sharding.reduce_scalars()
                return sums
            self._divide(batches[0])

    def _try(self, batch: Batch, seed: int) -> None:
        """Finds the number of parts that fits into the memory of every process."""
        self.tries = False
        while True:
            fits = True
            try:
                with self.accelerator.no_sync(self.model):
                    self._sum(self._divided([batch], seed), 1, alone=True)
            except (RuntimeError, MemoryError) as problem:
                if not self._may_divide(problem, batch):
                    raise
                fits = False
            self.model.zero_grad()
            if all(distributed.gather_objects(fits)):
                torch.manual_seed(seed)
                return
            self._divide(batch)

    def _divided(self, batches: Sequence[Batch], seed: int) -> Iterable[tuple[Batch, float]]:
        """Parts of the batches with their shares."""
        if self.parts == 1:
            return [(batch, 1.0) for batch in batches]
        torch.manual_seed(seed)
        return pieces(batches, self.parts)

    def _may_divide(self, problem: BaseException, batch: Batch) -> bool:
        return is_out_of_memory(problem) and -(-len(batch) // self.parts) > 1

    def _divide(self, batch: Batch) -> None:
        """Takes twice as many parts, and says so."""
        self.model.zero_grad()
        free_memory()
        size = -(-len(batch) // self.parts)
        self.parts *= 2
        text = _(
            "{size} samples do not fit into memory at once: going on with parts of {half}, "
            "whose gradients add up to those of the whole batch."
        )
        self.tell(text.format(size=size, half=-(-len(batch) // self.parts)))

    def step(self, optimizer: Optimizer) -> None:
        """Makes the optimizer's step, unless half-precision gradients overflow.

        Args:
            optimizer: of the method's parameters.
        """
        if self.scaler is None:
            optimizer.step()
        else:
            self.scaler.step(optimizer)
            self.scaler.update()
        optimizer.zero_grad()

    def _sum(
        self, parts: Iterable[tuple[Batch, float]], count: int, *, alone: bool = False
    ) -> dict[str, Tensor]:
        sums: dict[str, Tensor] = {}
        for (part, share), is_last in _with_last(parts):
            divisor = count / share
            # Sharded gradients are summed at once, for a whole one takes more memory.
            whole = is_last or alone or self.sharding is not None
            with contextlib.nullcontext() if whole else self.accelerator.no_sync(self.model):
                device = next(self.model.parameters()).device.type
                with torch.autocast(device, dtype=self.dtype, enabled=self.dtype is not None):
                    loss, metrics = checked_loss(self.model, self.model(part))
                mean = loss / divisor
                (mean if self.scaler is None else self.scaler.scale(mean)).backward()
            for name, value in {"loss": loss.detach(), **metrics}.items():
                term = value / divisor if divisor != 1 else value
                sums[name] = sums[name] + term if name in sums else term
        return sums


def checked_loss(model: nn.Module, result: Any) -> Loss:
    """What a method returns of a batch, which is its author's to get right.

    Args:
        model: the method, for the error.
        result: what it returns.

    Returns:
        The loss () and the metrics.

    Raises:
        ConfigError: it is something else.

    Example:
        >>> checked_loss(nn.Identity(), Loss(torch.tensor(1.0), {})).loss
        tensor(1.)
    """
    name = f"{type(model).__name__}.forward"
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], Mapping):
        raise ConfigError(
            f"{name} returns a {type(result).__name__}: return vitrail.methods.Loss(loss, metrics)."
        )
    for key, value in {"the loss": result[0], **result[1]}.items():
        if not isinstance(value, Tensor) or value.ndim:
            kind = getattr(value, "shape", type(value).__name__)
            raise ConfigError(
                f"{name}: {key} is {kind}: let it be a tensor of one number, such as a mean."
            )
    return Loss(*result)


def indivisible(method: Method) -> list[str]:
    """Why the loss of a batch is more than the mean over its parts.

    Args:
        method: the method.

    Returns:
        Reasons; none where it is the mean.

    Example:
        >>> from vitrail.methods.supervised import Supervised
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=1, mlp_dim=8)
        >>> indivisible(Supervised(model))
        []
    """
    reasons = []
    if method.batch_wide:
        reasons.append(_("the loss compares the samples of a batch"))
    if any(isinstance(module, BATCH_NORMS) for module in method.modules()):
        reasons.append(_("batch norms use the statistics of each batch"))
    return reasons


def check_accumulate(accumulate: int, batches: int) -> None:
    """Checks that an epoch has a step.

    Args:
        accumulate: number of batches per step.
        batches: number of batches per epoch.

    Raises:
        ConfigError: there are fewer batches.

    Example:
        >>> check_accumulate(2, 3)
    """
    if batches < accumulate:
        raise ConfigError(
            f"accumulate={accumulate} is more than the {batches} batches of an epoch: lower it or "
            "the batch size."
        )


def accumulation_remarks(method: Method, accumulate: int, batch_size: int) -> list[str]:
    """Why accumulated gradients differ from those of larger batches.

    Args:
        method: the method.
        accumulate: number of batches per step.
        batch_size: samples per batch.

    Returns:
        Sentences.

    Example:
        >>> from vitrail.methods.supervised import Supervised
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=1, mlp_dim=8)
        >>> accumulation_remarks(Supervised(model), 2, 8)
        []
    """
    if accumulate == 1:
        return []
    return [
        _("accumulate={count} is not the same as a batch of {size}: {reason}.").format(
            count=accumulate, size=accumulate * batch_size, reason=reason
        )
        for reason in indivisible(method)
    ]


def clip_gradients(
    method: nn.Module, largest: float | None, by: Literal["all", "parameter"]
) -> Tensor:
    """Clips the gradients of a method.

    Args:
        method: the method.
        largest: norm; None does not clip.
        by: whether that is the norm of "all" gradients together, or of each "parameter"'s.

    Returns:
        (), the norm of all gradients before.

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> layer(torch.ones(1, 1)).sum().backward()
        >>> clip_gradients(layer, 0.1, "all")
        tensor(1.4142)
    """
    learning = [p for p in method.parameters() if p.grad is not None]
    if largest is None or by == "all":
        norm = total_norm(p.grad for p in learning if p.grad is not None)
        if largest is not None:
            nn.utils.clip_grads_with_norm_(learning, largest, norm)
        return norm
    norms = [total_norm([p.grad]) for p in learning if p.grad is not None]
    for parameter, own in zip(learning, norms, strict=True):
        nn.utils.clip_grads_with_norm_([parameter], largest, own)
    return torch.linalg.vector_norm(torch.stack(norms))


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no number is infinite or NaN.

    Args:
        tensors: any number of them.

    Returns:
        True if none is.

    Example:
        >>> all_finite([torch.ones(2), torch.tensor([float("nan")])])
        False
    """
    shares = [local(t) for t in tensors]
    with torch.no_grad():
        sums = torch.stack([share.sum().float() for share in shares])
        if bool(sums.isfinite().all()):  # no number of a finite sum is infinite: one fast pass
            return True
        return all(torch.stack([share.isfinite().all() for share in shares]).tolist())


def _with_last(
    parts: Iterable[tuple[Batch, float]],
) -> Iterator[tuple[tuple[Batch, float], bool]]:
    """Each element, and whether it is the last one."""
    iterator = iter(parts)
    current = next(iterator)
    for following in iterator:
        yield current, False
        current = following
    yield current, True
