"""Base class of callbacks, which the trainer calls beside its steps."""

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from vitrail.methods.base import Batch

if TYPE_CHECKING:
    from vitrail.train.trainer import Trainer

Values = dict[str, Tensor | float]  # figures of a step by name; tensors are ()


class Callback:
    """Base class of what happens beside the steps: logs, evaluations, checkpoints.

    The trainer calls its callbacks in their order. Each overrides what it needs. `vitrail.fit`
    takes them as `callbacks=[...]`; they are called after validation and before checkpoints are
    written.

    Example:
        >>> class StopAbove(Callback):
        ...     def __init__(self, top1):
        ...         self.top1 = top1
        ...     def log(self, trainer, split, values):
        ...         if split == "val" and values["top1"] > self.top1:
        ...             trainer.end()
        >>> StopAbove(0.9).state()
        {}
    """

    def start(self, trainer: "Trainer") -> None:
        """Called before the first step.

        Args:
            trainer: at the step where it begins.
        """

    def before_step(self, trainer: "Trainer") -> None:
        """Called before each step.

        Args:
            trainer: with `step` steps done.
        """

    def after_backward(self, trainer: "Trainer", batch: Batch) -> None:
        """Called when the gradients of a step are there, before they are clipped and used.

        Args:
            trainer: with `step` steps done, not counting this one.
            batch: the last batch of the step.
        """

    def after_step(self, trainer: "Trainer", values: Values) -> None:
        """Called after each step.

        Args:
            trainer: with `step` steps done.
            values: loss, lr, grad_norm and the method's metrics, by name.
        """

    def log(self, trainer: "Trainer", split: str, values: dict[str, float]) -> None:
        """Called with figures to record.

        Args:
            trainer: with `step` steps done.
            split: "train", "val", "test" after training, or "spike" for the beginning of a loss
                spike.
            values: figures by name.
        """

    def tell(self, trainer: "Trainer", line: str) -> None:
        """Called with what the user should know, such as a step that was left out.

        Args:
            trainer: with `step` steps done.
            line: a sentence.
        """

    def log_image(self, trainer: "Trainer", kind: str, pixels: np.ndarray) -> None:
        """Called with an image to record.

        Args:
            trainer: with `step` steps done.
            kind: what it shows.
            pixels: uint8 (H, W, 3).
        """

    def finish(self, trainer: "Trainer") -> None:
        """Called after the last step, before the weights are evaluated and saved.

        Args:
            trainer: with all steps done.
        """

    def close(self, trainer: "Trainer") -> None:
        """Called at the end, also after an error.

        Args:
            trainer: at the step where it stopped.
        """

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold of it: plain values for JSON."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restores what `state` returned.

        Args:
            state: plain values.
        """
