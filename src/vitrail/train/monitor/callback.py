"""The monitor of a run: measures its health every few steps, and warns in plain words."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from vitrail.lens.health import HealthWarning, Measures, warning_text
from vitrail.lens.record import is_compiled
from vitrail.messages import _
from vitrail.methods.base import Batch
from vitrail.train.callback import Callback, Values
from vitrail.train.monitor.drop_paths import DropPaths
from vitrail.train.monitor.labels import LabelCheck
from vitrail.train.monitor.probe import Probe
from vitrail.train.monitor.rules import (
    UNRELATED,
    Alarm,
    RateRule,
    find,
    frozen_symptoms,
)
from vitrail.train.monitor.weights import Weights
from vitrail.train.trainer import Trainer
from vitrail.train.writers.base import Writer

EVERY, CLOSELY = 10, 200  # steps between measurements, in the first steps
LATER, MOST = 50, 1000  # steps between later measurements, at least, and their number, at most
LABELS_AT = 90  # step after which the labels are judged, or at the end of the first epoch
IMAGES, PORTION = 8, 8  # of the probe: at most so many, and one of so many of a batch, at least 2


class Monitor(Callback):
    """Measures the health of a run, records it, and warns of what is wrong.

    It changes nothing of the training: what it computes, it computes beside the step. Of several
    processes the main one measures, on its part of the batch. Where processes share out the
    weights (`train.sharding`), there is no whole model to measure, and only labels are judged.

    Args:
        writer: what records the measures.
        every: steps between measurements; True for 10 in the first 200 steps, and then for 50, or
            for as many as give 1,000 measurements of a long run.

    Example:
        >>> Monitor(Writer(), every=20).is_due(40, total=100)
        True
    """

    def __init__(self, writer: Writer, every: bool | int = True) -> None:
        self.writer, self.every = writer, every
        self.alarm, self.rate = Alarm(), RateRule()
        self.labels: LabelCheck | None = None  # while labels are collected
        self.measures: Measures = {}  # of the step that is being made
        self.weights: Weights | None = None
        self.probe: Probe | None = None
        self.drop_paths: DropPaths | None = None

    def is_due(self, step: int, total: int) -> bool:
        """Whether a step is measured.

        Args:
            step: its number, from 1.
            total: number of all steps.

        Returns:
            True if it is.
        """
        if self.every is not True:
            return step % self.every == 0
        later = LATER * math.ceil(total / MOST / LATER)
        return step % (EVERY if step <= CLOSELY else later) == 0

    def start(self, trainer: Trainer) -> None:
        """trainer → knows its model."""
        if not trainer.is_main:
            return
        if trainer.step == 0 and "labels" in trainer.method.inputs:
            self.labels = LabelCheck()
        if trainer.sharding is None:
            self.weights = Weights(trainer.method, trainer.optimizer)
            self.probe = Probe(trainer.method.backbone)
            if not is_compiled(trainer.method):  # a compiled forward calls no hooks
                self.drop_paths = DropPaths(trainer.method.backbone)

    def before_step(self, trainer: Trainer) -> None:
        """trainer → counts dropped paths, if the step is measured."""
        if self.drop_paths is not None and self.is_due(trainer.step + 1, trainer.total):
            self.drop_paths.start()

    def after_backward(self, trainer: Trainer, batch: Batch) -> None:
        """trainer, batch → what is measured before the optimizer's step."""
        if self.labels is not None and not self.labels.is_full:
            self.labels.add(batch)
        if self.weights is None or not self.is_due(trainer.step + 1, trainer.total):
            return
        self.measures = self.weights.gradients()
        if self.drop_paths is not None:
            self.measures |= self.drop_paths.stop()
        if self.probe is not None and (images := _few_images(batch)) is not None:
            self.measures |= self._inside(trainer, images)
        self.weights.remember()

    def after_step(self, trainer: Trainer, values: Values) -> None:
        """trainer, values → a measurement, and warnings."""
        warnings = self._check_labels(trainer)
        if self.measures and self.weights is not None:
            measures, self.measures = self.measures, {}
            changes, parameters = self.weights.updates()
            measures |= {"step": {name: float(value) for name, value in values.items()}, **changes}
            measures = _rounded(measures)
            self.writer.measures(trainer.step, measures)
            symptoms = [*find(measures), *frozen_symptoms(parameters)]
            symptoms += self.rate(trainer.step, measures)
            warnings += self.alarm(trainer.step, symptoms)
        for warning in warnings:
            self.writer.warning(warning)
            trainer.tell(warning_text(warning))

    def state(self) -> dict[str, Any]:
        """What warnings are told by."""
        return {**self.alarm.state(), "rate": self.rate.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """state → as it was."""
        self.alarm.load_state(state)
        self.rate.load_state(state.get("rate", ()))

    def _inside(self, trainer: Trainer, images: Tensor) -> Measures:
        """What the probe sees in a few images; nothing if it fails, and the training goes on."""
        assert self.probe is not None
        try:
            with _evaluating(trainer):
                measures = self.probe(images)
            return {**measures, **self.probe.gradients()}
        except Exception as problem:  # of whatever kind: a run does not end for its monitor
            self.probe = None
            text = _("the monitor measures nothing inside this model: {problem}")
            trainer.tell(text.format(problem=f"{type(problem).__name__}: {problem}"))
            return {}

    def _check_labels(self, trainer: Trainer) -> list[HealthWarning]:
        """A warning, if enough labels were seen and they are unrelated to the images."""
        step = trainer.step
        if self.labels is None or not (
            self.labels.is_full or step >= min(LABELS_AT, trainer.epoch_steps)
        ):
            return []
        score, self.labels = self.labels.score(), None
        if score is None or score >= UNRELATED:
            return []
        return [HealthWarning(step, "labels", "run", None, 0, round(score, 2))]


@contextlib.contextmanager
def _evaluating(trainer: Trainer) -> Iterator[None]:
    """Within the context the method is in evaluation mode, and draws of it change no other draw."""
    device, was_training = trainer.device, trainer.method.training
    devices = [device] if device.type == "cuda" else []
    trainer.method.eval()
    try:
        with (
            torch.random.fork_rng(devices),
            torch.autocast(device.type, dtype=trainer.dtype, enabled=trainer.dtype is not None),
        ):
            yield
    finally:
        trainer.method.train(was_training)


def _few_images(batch: Batch) -> Tensor | None:
    """The first images of a batch, of which there are enough; None where it has no images."""
    images = batch.images if batch.images is not None else next(iter(batch.crops), None)
    return None if images is None else images[: min(IMAGES, max(2, len(images) // PORTION))]


def _rounded(measures: Measures) -> Measures:
    """Measures of five digits, without what is not finite."""
    result: Measures = {}
    for name, parts in measures.items():
        for part, value in parts.items():
            numbers = [float(f"{v:.5g}") for v in (value if isinstance(value, list) else [value])]
            if all(map(math.isfinite, numbers)):
                entry = numbers if isinstance(value, list) else numbers[0]
                result.setdefault(name, {})[part] = entry
    return result
