"""The trainer: one loop for every method and every model.

Everything that a step draws at random follows from (seed, epoch, position), and a checkpoint holds
the rest, so a run that was killed and resumed ends with the same bytes as one that never stopped.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Literal, cast

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from vitrail.arguments import checked
from vitrail.errors import NotFiniteError
from vitrail.manifest import trusting
from vitrail.messages import _
from vitrail.methods import distributed
from vitrail.methods.base import Batch, Method
from vitrail.models.base import Backbone
from vitrail.run_folder import RunFolder
from vitrail.train.callback import Callback, Values
from vitrail.train.checkpoint import TrainState, drop_checkpoint, load_checkpoint
from vitrail.train.devices import choose_device
from vitrail.train.gradients import (
    Gradients,
    accumulation_remarks,
    all_finite,
    check_accumulate,
    clip_gradients,
    fitting,
    indivisible,
)
from vitrail.train.schedule import Schedule
from vitrail.train.seeds import mix_seed
from vitrail.train.sharding import Sharding, share_out
from vitrail.train.stopping import Interrupt, catch_interrupt, explain_not_finite, explaining_stops
from vitrail.train.streams import Stream
from vitrail.values import PositiveFloat, PositiveInt

Precision = Literal["fp32", "bf16", "fp16"]
OnNan = Literal["stop", "skip", "rollback"]
MOST_SKIPS = 10  # steps in a row
MOST_ROLLBACKS = 10
OTHER_ORDER = 1_000_000  # epochs later, which no run reaches, the order is another
DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Trainer:
    """Trains a method on a stream of batches.

    Args:
        method: method with its backbone; it is moved to the device.
        stream: batches with the fields of `method.inputs`.
        optimizer: optimizer of the method's parameters.
        schedule: sets learning rate and weight decay; it knows the number of all steps.
        run_folder: folder for checkpoints, if a callback writes them.
        ema: EMA of the method's weights, which is then evaluated and kept; None for none.
        accumulate: number of batches per step, whose gradients are averaged.
        clip: largest norm of the gradient; None does not clip it.
        clip_by: whether that is the norm of "all" gradients together, or of each "parameter"'s.
        seed: seed of the dropout and of what methods draw.
        precision: "fp32", or "bf16" or "fp16" for autocast. With fp16 gradients are scaled, and
            steps whose gradients overflow are skipped.
        callbacks: called in this order.
        device: "cpu", "cuda", "cuda:1", "mps" ...; None for the GPU if there is one. Each of
            several processes takes its own.
        on_nan: what follows a loss or gradient that is not finite: "stop"; "skip" to leave the step
            out; "rollback" to go on from the last checkpoint with another order of the samples.
        sharding: "fsdp" for several processes that each keep a share of the parameters, gradients,
            optimizer state and EMA; None for processes that each keep all.

    Raises:
        ConfigError: an epoch has fewer batches than `accumulate`, or the optimizer or the precision
            does not fit the sharding.

    Example:
        >>> from vitrail.methods.linear_probe import LinearProbe
        >>> from vitrail.train.streams import FeatureStream
        >>> model = vitrail.create_model("ViT", image_size=8, patch_size=4, num_classes=2, dim=8,
        ...                              depth=1, heads=1, mlp_dim=8)
        >>> method = LinearProbe(model)
        >>> trainer = Trainer(
        ...     method,
        ...     FeatureStream(torch.randn(8, 8), torch.arange(8) % 2, batch_size=4),
        ...     torch.optim.SGD(model.head.parameters(), lr=0.1),
        ...     schedule=Schedule(total=6),
        ... )
        >>> trainer.fit()
        >>> trainer.step
        6
    """

    method: Method
    model: nn.Module  # the method, wrapped for data-parallel training
    stream: Stream
    optimizer: Optimizer
    schedule: Schedule
    run_folder: RunFolder
    callbacks: tuple[Callback, ...]
    ema: AveragedModel | None
    scaler: GradScaler | None
    state: TrainState
    accelerator: Accelerator
    sharding: Sharding | None
    device: torch.device
    dtype: torch.dtype | None  # of autocast
    accumulate: int
    clip: float | None
    clip_by: Literal["all", "parameter"]
    seed: int
    step: int  # steps done
    epoch_steps: int
    total: int  # steps of the whole run
    result_step: int | None  # step of the weights to keep; None for the last
    stopping: bool  # after this step, because of a signal
    unchecked: list[Tensor]  # losses and gradient norms of steps not yet checked for NaN
    on_nan: OnNan
    skips: int  # steps in a row that were left out
    rollbacks: int
    gradients: Gradients  # computes those of a step

    @checked
    def __init__(
        self,
        method: Method,
        stream: Stream,
        optimizer: Optimizer,
        *,
        schedule: Schedule,
        run_folder: RunFolder | None = None,
        ema: AveragedModel | None = None,
        accumulate: PositiveInt = 1,
        clip: PositiveFloat | None = 1.0,
        clip_by: Literal["all", "parameter"] = "all",
        seed: int = 0,
        precision: Precision = "fp32",
        callbacks: Sequence[Callback] = (),
        device: str | torch.device | None = None,
        on_nan: OnNan = "stop",
        sharding: Literal["fsdp"] | None = None,
    ) -> None:
        self.accelerator = Accelerator(cpu=not torch.accelerator.is_available())
        alone = self.accelerator.num_processes == 1
        self.device = choose_device(device) if alone else self.accelerator.device
        self.method, self.stream, self.schedule = method.to(self.device), stream, schedule
        self.optimizer, self.run_folder = fitting(optimizer, method), run_folder or RunFolder(".")
        self.ema = None if ema is None else ema.to(self.device)
        self.accumulate, self.seed, self.clip, self.clip_by = accumulate, seed, clip, clip_by
        self.dtype = DTYPES[precision]
        self.scaler = GradScaler(self.device.type) if precision == "fp16" else None
        self.callbacks, self.sharding = tuple(callbacks), None
        if sharding is not None and not alone:
            self.sharding = share_out(method, optimizer, self.ema, precision)
        self.state = TrainState(method, optimizer, self.ema, self.scaler, self.sharding)
        plain = self.sharding is None
        self.model = self.accelerator.prepare_model(method, False) if plain else method
        self.step, self.total, self.epoch_steps = 0, schedule.total, len(stream) // accumulate
        check_accumulate(accumulate, len(stream))
        self.stopping, self.unchecked, self.result_step = False, [], None
        self.on_nan, self.skips, self.rollbacks = on_nan, 0, 0
        wrapped = (self.model, self.accelerator, self.dtype, self.scaler, self.sharding)
        self.gradients = Gradients(*wrapped, divisible=not indivisible(method), tell=self.tell)
        self.last_values: Values = {}
        self._whole: tuple[int, Method] | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.accelerator.is_main_process

    @property
    def result_method(self) -> Method:
        """The weights to evaluate and to keep: the EMA if there is one.

        With sharding it is a plain copy with all weights: every process must read this property.
        """
        method = self.method if self.ema is None else cast(Method, self.ema.module)
        if self.sharding is None:
            return method
        if self._whole is None or self._whole[0] != self.step:
            self._whole = self.step, self.sharding.whole(method)
        return self._whole[1]

    @property
    def backbone(self) -> Backbone:
        """The backbone to evaluate and to keep."""
        return self.result_method.result()

    @property
    def epochs_done(self) -> float:
        """The number of epochs done, a fraction within one."""
        return self.step / self.epoch_steps

    def remarks(self) -> list[str]:
        """→ sentences on what the user should know before training."""
        return accumulation_remarks(self.method, self.accumulate, self.stream.batch_size)

    def fit(self, *, resume: bool = False, trust: bool = False) -> None:
        """Trains to the last step.

        Args:
            resume: whether to go on from the newest checkpoint of the run folder that is whole.
            trust: whether to read checkpoints that are not as they were written.

        Raises:
            TrainingError: training was stopped, the loss is not finite, a sample cannot be read,
                or memory or the disk is full. The newest checkpoint stays.
        """
        run, size, reasons = self.run_folder, self.stream.batch_size, indivisible(self.method)
        with (
            explaining_stops(run, size, self.accumulate, reasons),
            trusting(trust),
            contextlib.ExitStack() as stack,
        ):
            if resume:
                self._resume()
            for callback in self.callbacks:
                stack.callback(callback.close, self)
                callback.start(self)
            with catch_interrupt() as interrupt:
                self._run(interrupt)
            self.accelerator.wait_for_everyone()  # until the best weights are on disk
            for callback in self.callbacks:
                callback.finish(self)

    def _resume(self) -> None:
        progress = load_checkpoint(self.run_folder, self.state, tell=self.tell)
        self.rollbacks = progress.rollbacks
        size = self.accumulate * self.stream.batch_size
        self.step = progress.steps_of(self.epoch_steps, size, self.run_folder)
        for callback in self.callbacks:
            callback.load_state(progress.callbacks.get(type(callback).__name__, {}))

    def _run(self, interrupt: Interrupt) -> None:
        while self.step < self.total:
            try:
                self._run_epoch(interrupt)
            except NotFiniteError as problem:
                if self.on_nan != "rollback" or self.rollbacks >= MOST_ROLLBACKS:
                    raise
                self._roll_back(str(problem))

    def _run_epoch(self, interrupt: Interrupt) -> None:
        epoch, position = divmod(self.step, self.epoch_steps)
        epoch += OTHER_ORDER * self.rollbacks
        batches = self.stream.epoch(epoch, position * self.accumulate, self.device)
        last = min(self.epoch_steps, position + self.total - self.step)
        for _number in range(position, last):
            for callback in self.callbacks:
                callback.before_step(self)
            values = self.train_step(batches)
            self.step += 1
            # Of any process, so that all stop here, and once, so that a checkpoint is written.
            number = distributed.largest(interrupt.number)
            self.stopping = number > 0
            for callback in self.callbacks:
                callback.after_step(self, values)
            if self.stopping:
                raise KeyboardInterrupt(number)
            if self.step >= self.total:
                return

    def _roll_back(self, problem: str) -> None:
        """Goes back to the last good checkpoint, from which the samples come in another order."""
        rollbacks = self.rollbacks + 1
        self.optimizer.zero_grad()
        self._resume()
        self.rollbacks = rollbacks
        text = _("{problem} Going on from step {step} with another order of the samples.")
        self.tell(text.format(problem=problem.partition(";")[0] + ".", step=self.step))

    def end(self) -> None:
        """Ends training after this step, for callbacks. The weights are evaluated and saved."""
        self.total = self.step

    def train_step(self, batches: Iterator[Batch]) -> Values:
        """Makes one step of the optimizer.

        Args:
            batches: the next `accumulate` batches are taken from it.

        Returns:
            Loss, learning rate, norm of the gradient before clipping, and the method's metrics, all
            means over the batches and processes.
        """
        rollbacks = (self.rollbacks,) if self.rollbacks else ()
        seed = mix_seed(self.seed, self.step, self.accelerator.process_index, *rollbacks)
        torch.manual_seed(seed)
        self._whole = None
        self.schedule.apply(self.optimizer, self.step)
        self.model.train()
        self.method.before_step(self.step / self.total)
        # What a forward may change, such as the statistics of batch norms.
        buffers = [b.clone() for b in self.method.buffers()] if self.on_nan == "skip" else []
        parts = [next(batches) for _number in range(self.accumulate)]
        sums = self.gradients(parts, seed)
        sums = distributed.mean_values(sums)  # what is not finite in one is so in all
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        for callback in self.callbacks:
            callback.after_backward(self, parts[-1])
        norm = clip_gradients(self.method, self.clip, self.clip_by)
        # With a scaler, steps whose gradients overflow are skipped; without one they must not be.
        loss = sums.pop("loss")
        self.unchecked.append(loss if self.scaler is not None else loss + norm)
        if self.on_nan == "skip" and self._skipped(buffers):
            return self.last_values
        if self.device.type == "cpu":
            self.check_finite(self.step + 1, parts)  # costs nothing here, and saves the weights
        self.gradients.step(self.optimizer)
        self.method.after_step()
        if self.sharding is not None:
            self.sharding.after_step()
        if self.ema is not None:
            self.ema.update_parameters(self.method)
        lr = max(group["lr"] for group in self.optimizer.param_groups)
        self.last_values = {"loss": loss, "lr": lr, "grad_norm": norm, **sums}
        return self.last_values

    def _skipped(self, buffers: Sequence[Tensor]) -> bool:
        """Whether the step is left out, because its loss or gradient is not finite."""
        if bool(self.unchecked[-1].isfinite()):
            self.skips = 0
            return False
        self.skips += 1
        if self.skips > MOST_SKIPS or not self.last_values:
            return False  # then `check_finite` raises
        self.unchecked.clear()
        self.optimizer.zero_grad()
        if self.scaler is not None:
            self.scaler.update()
        for buffer, old in zip(self.method.buffers(), buffers, strict=True):
            buffer.copy_(old)
        self.tell(_("step {step} is not finite and left out.").format(step=self.step + 1))
        return True

    def check_finite(self, step: int | None = None, batches: Sequence[Batch] = ()) -> None:
        """Checks the losses and gradients of the steps since the last check, and the weights.

        Args:
            step: number of the newest of these steps, before the optimizer has made it; None for
                `self.step`, after which the weights are checked too.
            batches: of that step, for the error.

        Raises:
            NotFiniteError: one is not finite; the message names the first such step.
        """
        finite = torch.stack(self.unchecked).isfinite().tolist() if self.unchecked else []
        self.unchecked.clear()
        newest = self.step if step is None else step
        if not all(finite):
            bad = newest - len(finite) + 1 + finite.index(False)
            text = f"the loss or its gradient is not finite at step {bad}"
            raise self._not_finite(text, bad, batches)
        if step is None:
            weights = [*self.method.parameters(), *(self.ema.parameters() if self.ema else ())]
            if not all(distributed.gather_objects(all_finite(weights))):
                raise self._not_finite(f"the weights are not finite after step {newest}", newest)

    def _not_finite(self, what: str, step: int, batches: Sequence[Batch] = ()) -> NotFiniteError:
        if self.is_main and step > 1:
            drop_checkpoint(self.run_folder, step - 1)  # its weights lead to no finite loss
        lr = max(group["initial_lr"] for group in self.optimizer.param_groups)
        return explain_not_finite(what, self.run_folder, lr, batches)

    def tell(self, line: str) -> None:
        """Tells the user something with every callback.

        Args:
            line: a sentence.
        """
        if self.is_main:
            for callback in self.callbacks:
                callback.tell(self, line)

    def log(self, split: str, values: dict[str, float]) -> None:
        """Records figures with every callback.

        Args:
            split: "train", "val", "test", or "spike" for the beginning of a loss spike.
            values: figures by name.
        """
        for callback in self.callbacks:
            callback.log(self, split, values)

    def log_image(self, kind: str, pixels: np.ndarray) -> None:
        """Records an image with every callback.

        Args:
            kind: what it shows.
            pixels: uint8 (H, W, 3).
        """
        for callback in self.callbacks:
            callback.log_image(self, kind, pixels)
