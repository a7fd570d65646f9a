"""The training loop: one for every method and every model.

Everything a step draws at random follows from (seed, epoch, position), and a checkpoint holds the
rest, so a run that was killed and resumed ends with the same bytes as one that never stopped.
"""

import contextlib
import errno
import functools
import importlib.util
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.state import AcceleratorState
from torch import Tensor

from vitrail.data.loader import Loader
from vitrail.errors import ConfigError, TrainingError
from vitrail.files import atomic_write
from vitrail.hub.model_folder import save as save_artifact
from vitrail.hub.method_folder import save as save_method
from vitrail.methods.base import Method
from vitrail.methods.linear_probe import LinearProbe
from vitrail.models.base import Backbone
from vitrail.train import checkpoint
from vitrail.train import metrics
from vitrail.train.factory import (
    FeatureStream,
    ImageStream,
    Datasets,
    build_method,
    build_model,
    build_transform,
    mixed_seed,
    open_datasets,
)
from vitrail.train.metrics import Evaluation
from vitrail.train.evaluator import NEIGHBOURS, Evaluator, compute_features
from vitrail.train.lora import merge
from vitrail.train.monitor import Monitor, bar, note
from vitrail.train.optim import average, parameter_groups
from vitrail.train.image_logging import Pictures
from vitrail.train.config import RunConfig, check_unchanged, read_config
from vitrail.train.schedule import cosine, decay_at


def train(
    run: RunConfig, folder: Path, *, resume: bool = False, command: str | None = None
) -> dict[str, Any]:
    """Trains as `run` says in `folder` → the final figures. `command` is noted down with it.

    Raises `VitrailError` before anything is written if the settings, the data or the folder are
    not as they should be, and `TrainingError` later; then the newest checkpoint stays.
    """
    settings = folder / "run.yaml"
    state = PartialState(cpu=ON_CPU)  # which of the processes this is, if there are several
    if resume:
        if not settings.is_file():
            raise ConfigError(f"{folder} holds no run to resume: it has no run.yaml.")
        check_unchanged(read_config(settings), run)
    elif settings.exists() and state.is_main_process:
        raise ConfigError(f"{folder} already holds a run: add --resume, or choose another --out.")
    if run.train.wandb and importlib.util.find_spec("wandb") is None:
        raise ConfigError("train.wandb needs the package wandb: pip install 'vitrail[wandb]'")
    if run.train.precision == "fp16" and ON_CPU:
        raise ConfigError("train.precision='fp16' needs a GPU: use bf16 or fp32 on a CPU.")
    with bar("reading images") as progress:
        sources = open_datasets(run, progress)
    trainer = Trainer(run, folder, sources)
    if state.is_main_process:
        _note_down(run, folder, sources, None if resume else command)
    return trainer.fit(resume=resume and bool(checkpoint.folders(folder)))


def _note_down(run: RunConfig, folder: Path, sources: Datasets, command: str | None) -> None:
    """Writes the settings, the command, and which images were left out."""
    run.save(folder)
    if command is not None:
        atomic_write(folder / "command.txt", command + "\n")
    bad = list(dict.fromkeys([*sources.train.bad, *sources.validation.bad]))
    if bad:
        lines = "".join(f"{name}\t{reason}\n" for name, reason in bad)
        atomic_write(folder / "bad_images.txt", lines)
        listed = folder / "bad_images.txt"
        note(f"left out {len(bad)} images that cannot be read, listed in {listed}:")
        for name, reason in bad[:10]:
            note(f"  {name}: {reason}")


@contextlib.contextmanager
def _polite_interrupt() -> Iterator[dict[str, bool]]:
    """Lets the step that runs finish when Ctrl-C comes first; a second one stops at once."""
    asked = {"stop": False}

    def first(*_: object) -> None:
        asked["stop"] = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    try:
        old = signal.signal(signal.SIGINT, first)
    except ValueError:  # not in the main thread: there Ctrl-C goes elsewhere
        yield asked
        return
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, old)


ON_CPU = not torch.accelerator.is_available()
MIXED = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}  # accelerate's names


class Trainer:
    """Trains one model on one source, in one run folder."""

    def __init__(self, run: RunConfig, folder: Path, sources: Datasets) -> None:
        if run.train.threads is not None:
            torch.set_num_threads(run.train.threads)
        self.run, self.folder, self.sources = run, folder, sources
        AcceleratorState._reset_state()  # a program may train twice, in other precisions
        self.accelerator = Accelerator(cpu=ON_CPU, mixed_precision=MIXED[run.train.precision])
        torch.manual_seed(run.train.seed)
        model = build_model(run, sources.train)
        assert model.preprocess is not None
        self.preprocess = model.preprocess
        self.validation = Loader(
            sources.validation,
            2 * run.data.batch_size,
            self.preprocess.crop,
            workers=run.data.workers,
        )
        self.judge = Evaluator(
            sources.train, self.validation, self.preprocess, run.train.knn_images
        )
        self.pictures = Pictures(sources.validation, self.preprocess)
        method = build_method(run, model, sources.train).to(self.accelerator.device)
        self.model: Backbone = model
        self.stream = self._stream(method)
        optim = run.optim
        optimizer = torch.optim.AdamW(
            parameter_groups(method, optim.lr, optim.weight_decay, optim.layer_decay),
            betas=optim.betas,
            fused=True,
        )
        self.average = average(model, optim.ema) if optim.ema else None
        self.learner = checkpoint.TrainState(method, optimizer, self.average, self.accelerator.scaler)
        self.method, self.optimizer = self.accelerator.prepare(method, optimizer)
        self.epoch_steps = len(self.stream) // optim.accumulate
        if self.epoch_steps == 0:
            raise ConfigError(
                f"optim.accumulate={optim.accumulate} is more than the {len(self.stream)} batches "
                "of an epoch: lower it or data.batch_size."
            )
        self.total = self.epoch_steps * run.schedule.epochs
        self.unchecked: list[Tensor] = []  # of each step since it was last asked: is it finite?

    def fit(self, *, resume: bool = False) -> dict[str, Any]:
        """Trains to the end, evaluates, writes the artifact → the final figures."""
        step, metrics_bytes = checkpoint.load(self.folder, self.learner) if resume else (0, 0)
        main, train = self.accelerator.is_main_process, self.run.train
        # Every process counts and evaluates alike; the first one's words are kept.
        with contextlib.ExitStack() as stack:
            folder = self.folder
            if not main:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            monitor = stack.enter_context(
                Monitor(
                    folder,
                    self.total,
                    step=step,
                    metrics_bytes=metrics_bytes if main else 0,
                    wandb=train.wandb and main,
                    quiet=not main,
                )
            )
            try:
                with _polite_interrupt() as asked:
                    self._epochs(step, monitor, asked)
            except KeyboardInterrupt:
                raise TrainingError(
                    f"stopped; {checkpoint.kept(self.folder)} Go on with --resume."
                ) from None
            except OSError as problem:
                if problem.errno != errno.ENOSPC:
                    raise
                raise TrainingError(
                    f"the disk is full; {checkpoint.kept(self.folder)} "
                    "Make room, then add --resume."
                ) from None
        return self._finish() if main else {}

    def _epochs(self, step: int, monitor: Monitor, asked: dict[str, bool]) -> None:
        train = self.run.train
        save_every = train.save_every or self.epoch_steps
        log_from = step
        while step < self.total:
            epoch, done = divmod(step, self.epoch_steps)
            accumulate = self.run.optim.accumulate
            batches = self.stream.epoch(epoch, done * accumulate, self.accelerator.device)
            for _ in range(done, self.epoch_steps):
                values = self._step(step, batches)
                step += 1
                here = step / self.epoch_steps
                monitor.tick(step, here)
                save = step % save_every == 0 or step == self.total
                if step % train.log_every == 0 or step == self.total:
                    self._check_finite(step)
                    floats = {k: float(v) for k, v in values.items()}
                    images = (step - log_from) * accumulate * self.run.data.batch_size
                    monitor.train(step, {"epoch": round(here, 4), **floats}, images)
                    log_from = step
                epochs, rest = divmod(step, self.epoch_steps)
                last = step == self.total
                if not rest and (epochs % train.eval_every == 0 or last):
                    figures = monitor.aside(self._validate)
                    monitor.evaluated(step, {"epoch": float(epochs), **figures})
                    drawn = functools.partial(self.pictures.draw, self.learner.method, self.judged)
                    monitor.pictures(step, monitor.aside(drawn))
                stop = asked["stop"]  # once, so that whoever stops has saved
                if save or stop:
                    self._check_finite(step)
                    monitor.aside(functools.partial(self._save, step, monitor))
                if stop:
                    raise KeyboardInterrupt

    def _save(self, step: int, monitor: Monitor) -> None:
        if self.accelerator.is_main_process:
            checkpoint.save(self.folder, step, self.learner, monitor.sync())

    def _step(self, step: int, batches: Any) -> dict[str, Tensor | float]:
        """One step of the optimizer, on `accumulate` batches."""
        optim, schedule, method = self.run.optim, self.run.schedule, self.learner.method
        torch.manual_seed(mixed_seed(self.run.train.seed, step, self.accelerator.process_index))
        factor = cosine(step, self.total, schedule.warmup, schedule.min_lr)
        decay = decay_at(step / self.total, optim.weight_decay, optim.weight_decay_end)
        for group in self.optimizer.param_groups:
            group["lr"] = optim.lr * group["scale"] * factor
            group["weight_decay"] = decay * group["decayed"]
        self.method.train()
        method.before_step(step / self.total)
        seen = torch.zeros((), device=self.accelerator.device)
        for number in range(optim.accumulate):
            images, targets = next(batches)
            last = number == optim.accumulate - 1
            alone = contextlib.nullcontext() if last else self.accelerator.no_sync(self.method)
            with alone, self.accelerator.autocast():
                loss, metrics = self.method(images, targets)
                self.accelerator.backward(loss / optim.accumulate)
            seen = seen + loss.detach()
        norm = self.accelerator.clip_grad_norm_(method.parameters(), optim.clip)
        assert norm is not None
        # A scaler skips steps whose gradient overflows; without one it would spoil the weights.
        self.unchecked.append(seen if self.learner.scaler is not None else seen + norm)
        if self.accelerator.device.type == "cpu":
            self._check_finite(step + 1)  # costs nothing here, and spares the weights
        self.optimizer.step()
        self.optimizer.zero_grad()
        method.after_step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return {"loss": loss.detach(), "lr": optim.lr * factor, "grad_norm": norm, **metrics}

    def _check_finite(self, step: int) -> None:
        """Raises `TrainingError` naming the first step whose loss or gradient is not finite."""
        if not self.unchecked:
            return
        finite = torch.stack(self.unchecked).isfinite().tolist()
        self.unchecked.clear()
        if not all(finite):
            bad = step - len(finite) + 1 + finite.index(False)
            raise TrainingError(
                f"the loss or its gradient is not finite at step {bad}; "
                f"{checkpoint.kept(self.folder)} "
                f"Lower optim.lr (now {self.run.optim.lr:g}) or lengthen schedule.warmup."
            )

    @property
    def judged(self) -> Backbone:
        """The weights that are evaluated and kept: the average if there is one."""
        if self.average is None:
            return self.learner.method.result()
        averaged = self.average.module
        assert isinstance(averaged, Backbone)
        return averaged

    def _validate(self) -> dict[str, float]:
        method = self.learner.method
        if isinstance(self.stream, FeatureStream):
            with torch.inference_mode():
                features = (self.held_features - self.stream.mean) / self.stream.std
                logits = self.judged.head(features.to(self.accelerator.device)).cpu()
            every = torch.arange(len(logits))
            result: Evaluation | None = metrics.summarise(logits, self.held_targets, every)
        else:
            result = self.judge(method, self.judged)
        figures = {}
        if result is not None:
            figures = {"loss": result.loss, "top1": result.top1, "top5": result.top5}
            if method.classifier(self.judged) is None:
                del figures["loss"]  # of the neighbours, and no measure of what was learned
        if (loss := self.judge.loss(method)) is not None:
            figures["loss"] = loss
        return figures

    def _stream(self, method: Method) -> ImageStream | FeatureStream:
        """Random views of images, or features computed once where only the head learns."""
        data, seed = self.run.data, self.run.train.seed
        if not isinstance(method, LinearProbe):
            shard = (self.accelerator.process_index, self.accelerator.num_processes)
            views = build_transform(self.run, method, self.sources.train, self.preprocess)
            return ImageStream(self.run, self.sources.train, self.preprocess, views, shard)
        loader = Loader(
            self.sources.train, data.batch_size, self.preprocess.crop, workers=data.workers
        )
        computed = []
        for name, part in (("training", loader), ("validation", self.validation)):
            with bar(f"features of {name} images") as progress:
                computed.append(compute_features(self.model, part, self.preprocess, progress)[:2])
        (features, targets), (self.held_features, self.held_targets) = computed
        return FeatureStream(features, targets, data.batch_size, seed)

    def _finish(self) -> dict[str, Any]:
        model, method = merge(self.judged.eval()), self.learner.method
        model.preprocess, model.labels = self.preprocess, self.sources.train.labels
        if isinstance(self.stream, FeatureStream):
            assert isinstance(method, LinearProbe)
            method.backbone = model
            method.unstandardise(self.stream.mean, self.stream.std)
        with bar("final evaluation") as progress:
            result = self.judge(method, model, progress)
        told: dict[str, Any] = {
            "split": f"{self.run.data.source} {self.sources.split}",
            "weights": "moving average" if self.average is not None else "last step",
        }
        if method.classifier(model) is None:
            model.labels = None  # what it learned are no labels
            if result is not None:
                told["judge"] = f"{NEIGHBOURS} nearest neighbours"
        if (loss := self.judge.loss(method)) is not None:
            told["method_loss"] = loss
        figures = metrics.write(
            self.folder,
            result,
            self.sources.validation,
            self.preprocess.crop,
            self.sources.train.labels,
            told,
        )
        save_artifact(model, self.folder / "model", metrics=figures)
        settings = self.run.method.model_dump(mode="json", exclude={"name"})
        save_method(method, self.run.method.name, settings, self.folder / "method")
        return figures
