"""The end of a run: the final evaluation, and the model and the method on disk."""

from collections.abc import Mapping
from typing import Any

from vitrail.files import atomic_write
from vitrail.hub.method_folder import save_method
from vitrail.hub.model_folder import save
from vitrail.messages import _
from vitrail.methods.base import Method
from vitrail.models.base import Backbone
from vitrail.train.console import progress_bar
from vitrail.train.evaluator import Evaluator, K
from vitrail.train.lora import merge
from vitrail.train.metrics import AnyEvaluation
from vitrail.train.scores import as_csv
from vitrail.train.trainer import Trainer


def write_results(
    trainer: Trainer, evaluators: Mapping[str, Evaluator], *, method_name: str, source: str
) -> dict[str, Any]:
    """Evaluates the trained weights and writes evaluation, model and method to the run folder.

    Every process calls it; the first one writes.

    Args:
        trainer: a trainer that has trained; its backbone is changed.
        evaluators: evaluate the weights, by "validation" and "test". The last one's figures are the
            run's; those of the other begin with "val_".
        method_name: name of the method in the registry.
        source: name of the data in the report.

    Returns:
        The final figures; of several processes only the first has them.

    Example:
        >>> from vitrail.train.factory import train_run  # calls it
        >>> callable(train_run)
        True
    """
    method, run = trainer.result_method, trainer.run_folder
    *others, (split, evaluator) = evaluators.items()
    model = finished_model(trainer, evaluator)
    figures: dict[str, Any] = {
        "split": f"{source} {split}",
        "weights": _describe_weights(trainer),
    }
    validated = {name: _evaluate(other, method, model) for name, other in others}
    for validation, _scores in validated.values():
        _tune(model, validation)
    if "validation" in evaluators and model.outputs.target == "labels":
        figures["thresholds"] = "validation"
    result, scores = _evaluate(evaluator, method, model)
    if not validated and split == "validation":
        _tune(model, result)  # after the evaluation, whose figures it would flatter
    if method.classifier(model) is None:
        model.labels = None  # it learned no classes
        if result is not None:
            figures["evaluated_by"] = f"k-NN, k = {K}"
    details: dict[str, Any] = {}
    images = None
    if result is not None and trainer.is_main:
        dataset = evaluator.validation.dataset.for_input(model.preprocess.single)
        details, images = result.describe(dataset, evaluator.train.labels, evaluator.validation.fit)
    figures |= scores
    if not trainer.is_main:
        return {}
    for _result, more in validated.values():  # what epochs were judged by, beside the test
        figures |= {f"val_{key}": value for key, value in more.items()}
    if split == "test":
        trainer.log(split, scores)
    run.write_evaluation({**figures, **details}, images)
    if result is not None:
        named = result._replace(labels=evaluator.train.labels)
        atomic_write(run.classes_file, as_csv(named.classes))
    save(model, run.model_folder, metrics=figures)
    save_method(method, method_name, run.method_folder)
    return figures


def finished_model(trainer: Trainer, evaluator: Evaluator) -> Backbone:
    """The trained weights as a model that is ready to be evaluated and saved.

    Args:
        trainer: a trainer that has trained; its backbone is changed.
        evaluator: knows the preprocessing and the names of the classes.

    Returns:
        The model.

    Example:
        >>> from vitrail.train.checkpoint_model import save_checkpoint_model  # calls it
        >>> callable(finished_model)
        True
    """
    model = merge(trainer.backbone.eval())
    model.preprocess, model.labels = evaluator.preprocess, evaluator.train.labels or None
    trainer.result_method.finish(model)
    return model


def _tune(model: Backbone, result: AnyEvaluation | None) -> None:
    """Chooses by validation images what is not learned of the outputs, such as thresholds."""
    if result is not None:
        model.outputs = result.tuned()


def _describe_weights(trainer: Trainer) -> str:
    step = "last step" if trainer.result_step is None else f"best step, {trainer.result_step}"
    return f"EMA, {step}" if trainer.ema is not None else step


def _evaluate(
    evaluator: Evaluator, method: Method, model: Backbone
) -> tuple[AnyEvaluation | None, dict[str, float]]:
    """The evaluation of a model, and all figures."""
    with progress_bar(_("final evaluation")) as progress:
        result = evaluator(method, model, progress)
    figures = {} if result is None else result.figures
    if (loss := evaluator.validation_loss(method)) is not None:
        figures["method_loss"] = loss
    return result, figures
