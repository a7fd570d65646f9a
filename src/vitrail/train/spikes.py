"""Loss spikes: steps from which on the loss is far above what it was. They are noted, no more."""

from collections import deque
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitrail.messages import _
from vitrail.train.callback import Callback, Values
from vitrail.train.trainer import Trainer

WINDOW, FEWEST = 64, 32  # losses before a loss that it is compared with, at most and at least
HIGH = 0.95  # quantile of them that is still usual
FENCE = 3.0  # distance from it, in its own distance from the median: Tukey's factor for "far out"
RISE = 0.1  # least rise, as a fraction of the median that the run began with
SPLIT = "spike"  # of the lines in metrics.jsonl


class Spike(NamedTuple):
    """The step that a loss spike begins with.

    Args:
        step: number of steps done with it.
        loss: its loss.
        usual: median of the losses before it.

    Example:
        >>> Spike(57, 4.1, 0.5).usual
        0.5
    """

    step: int
    loss: float
    usual: float


class SpikeDetector:
    """Finds spikes by a fence above the usual losses, in the manner of Tukey (1977).

    A loss is an outlier if its distance from the 95 % quantile of the 64 losses before it is more
    than three times the distance of that quantile from their median, and more than a tenth of the
    median that the run began with. Two outliers in a row begin a spike: one alone is a hard batch,
    but weights that a step has spoiled stay so for a while, as in the spikes of PaLM (Chowdhery et
    al. 2022). A spike ends with the first loss that is no outlier.

    Example:
        >>> detector = SpikeDetector()
        >>> losses = [1.0] * 40 + [5.0] * 5
        >>> [spike for step, loss in enumerate(losses) if (spike := detector(step, loss))]
        [Spike(step=40, loss=5.0, usual=1.0)]
    """

    def __init__(self) -> None:
        self.losses = deque[float](maxlen=WINDOW)
        self.first_median: float | None = None
        self.first_outlier: Spike | None = None  # of those in a row up to now
        self.noted = False  # whether it has been returned

    def __call__(self, step: int, loss: float) -> Spike | None:
        """Takes the loss of the next step.

        Args:
            step: number of steps done with it.
            loss: its loss.

        Returns:
            The spike that began with the step before; None for none.
        """
        spike = None
        outlier = self._outlier(step, loss)
        if outlier is None:
            self.first_outlier, self.noted = None, False
        elif self.first_outlier is None:
            self.first_outlier = outlier
        elif not self.noted:
            spike, self.noted = self.first_outlier, True
        self.losses.append(loss)
        return spike

    def _outlier(self, step: int, loss: float) -> Spike | None:
        if len(self.losses) < FEWEST:
            return None
        ordered = sorted(self.losses)
        median, high = (ordered[int(q * (len(ordered) - 1))] for q in (0.5, HIGH))
        if self.first_median is None:
            self.first_median = median
        least = max(FENCE * (high - median), RISE * abs(self.first_median))
        return Spike(step, loss, median) if loss - high > least else None

    def state(self) -> dict[str, Any]:
        """All that it remembers: plain values for JSON."""
        return {
            "losses": list(self.losses),
            "first_median": self.first_median,
            "first_outlier": self.first_outlier,
            "noted": self.noted,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores what `state` returned.

        Args:
            state: plain values; empty for the beginning.
        """
        self.losses = deque(state.get("losses", ()), maxlen=WINDOW)
        self.first_median = state.get("first_median")
        outlier = state.get("first_outlier")
        self.first_outlier = None if outlier is None else Spike(*outlier)
        self.noted = state.get("noted", False)


class SpikeWatch(Callback):
    """Notes the loss spikes of a run, in a line for the user and in the metrics.

    Losses are read from the device when a line of training is logged, so that no step waits.

    Example:
        >>> SpikeWatch().state()["pending"]
        []
    """

    def __init__(self) -> None:
        self.detector = SpikeDetector()
        self.pending: list[tuple[int, Tensor | float]] = []  # (step, loss), not looked at yet

    def after_step(self, trainer: Trainer, values: Values) -> None:
        """trainer, values → the loss for later."""
        if trainer.is_main:
            self.pending.append((trainer.step, values["loss"]))

    def log(self, trainer: Trainer, split: str, values: dict[str, float]) -> None:
        """trainer, split, values → a line for each spike since the last line of training."""
        del values
        if split != "train" or not self.pending:
            return
        for step, loss in self._losses():
            spike = self.detector(step, loss)
            if spike is None:
                continue
            text = _(
                "step {step}: the loss rose to {loss:.4g} from {usual:.4g}, the median of the "
                "steps before, and stayed high. If it does not come down, lower the learning rate."
            )
            trainer.tell(text.format(**spike._asdict()))
            trainer.log(SPLIT, {"begin": spike.step, "loss": spike.loss, "usual": spike.usual})
        self.pending.clear()

    def state(self) -> dict[str, Any]:
        """The losses that spikes are told by."""
        return {"pending": self._losses(), **self.detector.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """state → the losses as they were."""
        self.pending = [(step, loss) for step, loss in state.get("pending", ())]
        self.detector.load_state(state)

    def _losses(self) -> list[tuple[int, float]]:
        """The pending losses, read from the device at once."""
        tensors = [loss for _step, loss in self.pending if isinstance(loss, Tensor)]
        values = iter(torch.stack(tensors).tolist() if tensors else ())
        return [
            (step, next(values) if isinstance(loss, Tensor) else loss)
            for step, loss in self.pending
        ]
