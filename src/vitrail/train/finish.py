"""The end of a run: the final evaluation, and the model and the method on disk."""

from typing import Any

from vitrail.hub.method_folder import save_method
from vitrail.hub.model_folder import save
from vitrail.messages import _
from vitrail.train.evaluator import Evaluator, K
from vitrail.train.lora import merge
from vitrail.train.metrics import describe_evaluation
from vitrail.train.monitor import progress_bar
from vitrail.train.trainer import Trainer


def write_results(
    trainer: Trainer, evaluator: Evaluator, *, method_name: str, split: str
) -> dict[str, Any]:
    """Evaluates the trained weights and writes evaluation, model and method to the run folder.

    Args:
        trainer: a trainer that has trained; its backbone is changed.
        evaluator: evaluates the weights.
        method_name: name of the method in the registry.
        split: what the held-out samples are called in the report.

    Returns:
        The final figures.

    Example:
        >>> from vitrail.train.factory import train_run  # calls it
        >>> callable(train_run)
        True
    """
    method, run = trainer.result_method, trainer.run_folder
    model = merge(trainer.backbone.eval())
    model.preprocess, model.labels = evaluator.preprocess, evaluator.train.labels or None
    method.finish(model)
    with progress_bar(_("final evaluation")) as progress:
        result = evaluator(method, model, progress)
    figures: dict[str, Any] = {
        "split": split,
        "weights": "EMA" if trainer.ema is not None else "last step",
    }
    if method.classifier(model) is None:
        model.labels = None  # it learned no classes
        if result is not None:
            figures["evaluated_by"] = f"k-NN, k = {K}"
    if (loss := evaluator.validation_loss(method)) is not None:
        figures["method_loss"] = loss
    details: dict[str, Any] = {}
    images = None
    if result is not None:
        scores, details, images = describe_evaluation(
            result, evaluator.validation.dataset, evaluator.train.labels, evaluator.validation.fit
        )
        figures |= scores
    run.write_evaluation({**figures, **details}, images)
    save(model, run.model_folder, metrics=figures)
    save_method(method, method_name, run.method_folder)
    return figures
