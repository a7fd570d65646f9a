"""Callbacks of the trainer: evaluation, images and checkpoints. `run_log` holds the logs."""

from vitrail.train.callback import Callback, Values
from vitrail.train.checkpoint import Progress, save_checkpoint
from vitrail.train.evaluator import Evaluator
from vitrail.train.image_logging import ImageSample, draw_images
from vitrail.train.trainer import Trainer


class Validation(Callback):
    """Evaluates the weights to keep, and logs the figures as "val".

    Args:
        evaluator: evaluates them.
        every: number of epochs between evaluations; the last step is always evaluated.

    Example:
        >>> Validation(None, every=2).every
        2
    """

    def __init__(self, evaluator: Evaluator, every: int = 1) -> None:
        self.evaluator, self.every = evaluator, every

    def after_step(self, trainer: Trainer, values: Values) -> None:
        """trainer, values → figures of an epoch's end."""
        del values
        if is_due(trainer, self.every):
            figures = self.evaluator.figures(trainer.result_method, trainer.backbone)
            trainer.log("val", {"epoch": trainer.epochs_done, **figures})


class ImageLogging(Callback):
    """Draws what the method makes of a few held-out images: reconstructions, attention.

    Args:
        sample: the images.
        every: number of epochs between drawings; the last step is always drawn.

    Example:
        >>> ImageLogging(None, every=2).every
        2
    """

    def __init__(self, sample: ImageSample, every: int = 1) -> None:
        self.sample, self.every = sample, every

    def after_step(self, trainer: Trainer, values: Values) -> None:
        """trainer, values → images of an epoch's end."""
        del values
        if is_due(trainer, self.every):
            drawings = draw_images(self.sample, trainer.result_method, trainer.backbone)
            for kind, pixels in drawings.items():
                trainer.log_image(kind, pixels)


class Checkpointing(Callback):
    """Writes checkpoints to the run folder. It comes last, so that they hold the others' state.

    Args:
        every: number of steps between checkpoints; None for one per epoch. The last step, and the
            step at which training is interrupted, are always saved.

    Example:
        >>> Checkpointing(every=100).every
        100
    """

    def __init__(self, every: int | None = None) -> None:
        self.every = every

    def start(self, trainer: Trainer) -> None:
        """trainer → a checkpoint to roll back to, if there is none yet."""
        if trainer.on_nan == "rollback" and trainer.step == 0:
            self._save(trainer)

    def after_step(self, trainer: Trainer, values: Values) -> None:
        """trainer, values → a checkpoint, if it is time for one."""
        del values
        every = self.every or trainer.epoch_steps
        if trainer.step % every and trainer.step != trainer.total and not trainer.stopping:
            return
        trainer.check_finite()
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        states = {type(callback).__name__: callback.state() for callback in trainer.callbacks}
        progress = Progress(trainer.step, trainer.epoch_steps, states, trainer.rollbacks)
        save_checkpoint(trainer.run_folder, progress, trainer.state)


def is_due(trainer: Trainer, every: int) -> bool:
    """Whether the step that was just made ends an epoch to report on.

    Args:
        trainer: with `step` steps done.
        every: number of epochs between reports.

    Returns:
        True for every such epoch, and for the last step.

    Example:
        >>> class AtStep6:
        ...     step, epoch_steps, total = 6, 3, 12
        >>> is_due(AtStep6, every=2), is_due(AtStep6, every=4)
        (True, False)
    """
    if trainer.step == trainer.total:
        return True
    return trainer.step % (every * trainer.epoch_steps) == 0
