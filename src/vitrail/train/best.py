"""The weights of the best epoch, and the end of a run that gets no better."""

import shutil
from typing import Any

import safetensors.torch
from safetensors import SafetensorError

from vitrail.errors import VitrailError
from vitrail.manifest import check_manifest, hashed_folder
from vitrail.messages import _
from vitrail.run_folder import RunFolder
from vitrail.tensor_bytes import tensor_bytes
from vitrail.train.callback import Callback
from vitrail.train.trainer import Trainer

WEIGHTS = "method.safetensors"


class KeepBest(Callback):
    """Keeps the weights of the best evaluation in the run folder.

    The best is the one with the highest accuracy or mean average precision, and of equal ones, or
    where there is neither, with the least loss or error.

    Args:
        patience: number of evaluations without a better one after which training ends; None for
            never.
        keep: whether to write the best weights to the run folder; if not, this only ends training
            early.

    Example:
        >>> KeepBest(patience=3).state()
        {'step': None, 'score': None, 'worse': 0}
    """

    def __init__(self, patience: int | None = None, *, keep: bool = True) -> None:
        self.patience, self.keep = patience, keep
        self.step: int | None = None
        self.score: list[float] | None = None
        self.worse = 0  # evaluations since the best one
        self.saved: list[int | None] = []  # the best of the checkpoints that may be resumed from

    def start(self, trainer: Trainer) -> None:
        """trainer → ends a run that is resumed after it ended so."""
        if self.patience is not None and self.worse >= self.patience:
            trainer.end()

    def log(self, trainer: Trainer, split: str, values: dict[str, float]) -> None:
        """trainer, split, values → the weights on disk, if they are the best."""
        if split != "val":
            return
        score = [
            values.get("top1", values.get("map", 0.0)),
            -values.get("loss", values.get("rmse", 0.0)),
        ]
        if self.score is None or score > self.score:
            self.step, self.score, self.worse = trainer.step, score, 0
            weights = trainer.result_method.state_dict() if self.keep else {}
            if self.keep and trainer.is_main:
                run = trainer.run_folder
                with hashed_folder(run.best_weights(trainer.step)) as writer:
                    writer.write(WEIGHTS, tensor_bytes(weights))
                self._forget(run)
        else:
            self.worse += 1
            if self.patience is not None and self.worse >= self.patience:
                trainer.end()

    def _forget(self, run: RunFolder) -> None:
        """Deletes all but these weights and those that checkpoints refer to."""
        current = {run.best_weights(step) for step in (self.step, *self.saved) if step is not None}
        for folder in run.best_folder.glob("step-????????"):
            if folder not in current:
                shutil.rmtree(folder, ignore_errors=True)

    def finish(self, trainer: Trainer) -> None:
        """trainer → the best weights in the place of the last, unless they are damaged."""
        if self.keep and self.step is not None:
            folder = trainer.run_folder.best_weights(self.step)
            try:
                check_manifest(folder)
                weights = safetensors.torch.load_file(folder / WEIGHTS)
            except (VitrailError, OSError, SafetensorError) as problem:
                text = _("{problem} The weights of the last step are evaluated and saved instead.")
                trainer.tell(text.format(problem=f"{str(problem).rstrip('.')}."))
                return
            trainer.result_method.load_state_dict(weights)
            trainer.result_step = self.step

    def state(self) -> dict[str, Any]:
        """The step and the figures of the best, and the number of evaluations since."""
        self.saved = [*self.saved[-1:], self.step]  # until it is whole, the one before counts
        return {"step": self.step, "score": self.score, "worse": self.worse}

    def load_state(self, state: dict[str, Any]) -> None:
        """state → the best so far."""
        self.step, self.score = state.get("step"), state.get("score")
        self.worse, self.saved = state.get("worse", 0), [self.step]
