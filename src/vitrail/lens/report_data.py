"""What a report says about a run, as numbers: read from the run folder, before any wording."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from vitrail.errors import ConfigError, VitrailError
from vitrail.hub import model_folder
from vitrail.hub.load import load
from vitrail.messages import ngettext
from vitrail.models.base import Backbone
from vitrail.run_folder import RunFolder


class Setup(NamedTuple):
    """What a run trains on what, and where.

    Args:
        method: name of the method.
        images: number of images by split.
        epochs: number of epochs.
        steps: number of steps per epoch.
        batch_size: images per batch.
        seed: seed of all draws.
        device: where it ran.
        precision: "fp32", "bf16" or "fp16".

    Example:
        >>> Setup("mae", {"train": 100}, 10, 3, 32, 0, "cpu", "fp32").images["train"]
        100
    """

    method: str
    images: dict[str, int]
    epochs: int
    steps: int
    batch_size: int
    seed: int
    device: str
    precision: str


@dataclass
class ReportData:
    """Everything that a report shows of a run; what the run has not written is empty.

    Args:
        run: the folder of the run.
        metrics: lines of the metrics.
        timing: lines of the timing.
        evaluation: the final evaluation.
        images: uint8 (N, C, *size) that the evaluation refers to by index, or None.
        model: the trained model, or None.
        model_problem: why the model of the run could not be loaded, or "".

    Example:
        >>> ReportData(RunFolder("runs/pets"), [], [], {}, None, None, "").dataset
        ''
    """

    run: RunFolder
    metrics: list[dict[str, Any]]
    timing: list[dict[str, Any]]
    evaluation: dict[str, Any]
    images: Tensor | None
    model: Backbone | None
    model_problem: str

    @property
    def has_accuracy(self) -> bool:
        """Whether the evaluation compares predictions with labels."""
        return "top1" in self.evaluation

    @property
    def dataset(self) -> str:
        """The dataset as the settings name it; of a path its name only."""
        source = str((self.run.settings.get("data") or {}).get("source") or "")
        kind, _separator, rest = source.partition(":")
        return f"{kind} {Path(rest).name}" if rest and kind != "hub" else source

    @property
    def setup(self) -> Setup | None:
        """What was trained on what; None where the run did not write it."""
        summary = self.run.summary
        if not summary:
            return None
        training, splits = summary["training"], summary["data"]["splits"]
        return Setup(
            training["method"],
            {split: counts["images"] for split, counts in splits.items()},
            training["epochs"],
            training["steps_per_epoch"],
            training["batch_size"],
            self.run.settings.get("train", {}).get("seed", 0),
            summary["device"],
            summary["precision"],
        )

    @property
    def last_validation(self) -> dict[str, Any] | None:
        """The last line of the metrics with a validation accuracy."""
        lines = [line for line in self.metrics if line["split"] == "val" and "top1" in line]
        return lines[-1] if lines else None


def read_report(run: RunFolder) -> ReportData:
    """Reads what a report shows of a run.

    The model is loaded from the run folder only, never from the Hub.

    Args:
        run: the folder of the run.

    Returns:
        The data; what the run has not written is empty.

    Raises:
        ConfigError: the folder holds no run, or a file of it cannot be read.

    Example:
        >>> import tempfile
        >>> run = RunFolder(tempfile.mkdtemp())
        >>> run.write_settings({"data": {"source": "folder:/photos/pets"}})
        >>> read_report(run).dataset
        'folder pets'
    """
    if not run.exists:
        raise ConfigError(
            f"{run} holds no run: there is neither {run.settings_file.name} nor "
            f"{run.metrics_file.name}."
        )
    _check_confusion(run)
    model, problem = None, ""
    if (run.model_folder / model_folder.CONFIG).is_file():
        try:
            model = load(run.model_folder)
        except VitrailError as error:
            problem = str(error).rstrip(".")
    return ReportData(
        run, run.metrics, run.timing, run.evaluation, run.example_images, model, problem
    )


def _check_confusion(run: RunFolder) -> None:
    """Raises `ConfigError` where the evaluation has not a row and a column for each class."""
    labels, confusion = (run.evaluation.get(key, []) for key in ("labels", "confusion"))
    if confusion and {len(confusion), *map(len, confusion)} != {len(labels)}:
        raise ConfigError(
            f"{run.evaluation_file}: confusion is not {len(labels)} x {len(labels)}, as its labels "
            "are: evaluate the run again."
        )


def describe_spikes(metrics: Sequence[Mapping[str, Any]]) -> str:
    """A sentence on loss spikes.

    Args:
        metrics: lines of a run's metrics.

    Returns:
        The sentence; "" where there were none.

    Example:
        >>> describe_spikes([{"step": 60, "split": "spike", "begin": 52}])[:30]
        'The loss spiked at step 52: it'
    """
    steps = [str(line["begin"]) for line in metrics if line["split"] == "spike"]
    if not steps:
        return ""
    text = ngettext(
        "The loss spiked at step {steps}: it rose far above the steps before, and stayed high "
        "for a while.",
        "The loss spiked at steps {steps}: it rose far above the steps before, and stayed high "
        "for a while.",
        len(steps),
    )
    return text.format(steps=", ".join(steps))


class ClassResult(NamedTuple):
    """How well the images of one class are recognized.

    Args:
        label: name of the class.
        images: number of its images.
        accuracy: fraction of them that is recognized; 0 where there are none.
        confused_with: name of the class that most of the others are taken for, or "".
        times: number of images taken for it.

    Example:
        >>> ClassResult("cat", 4, 0.75, "dog", 1).accuracy
        0.75
    """

    label: str
    images: int
    accuracy: float
    confused_with: str
    times: int


def class_results(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[ClassResult]:
    """The result of every class, the lowest accuracy first and classes without images last.

    Args:
        labels: class names.
        confusion: counts; rows are the true class, columns the predicted one.

    Returns:
        One result per class.

    Example:
        >>> class_results(["cat", "dog"], [[3, 1], [2, 2]])[0]
        ClassResult(label='dog', images=4, accuracy=0.5, confused_with='cat', times=2)
    """
    results = []
    for index, row in enumerate(confusion):
        count = sum(row)
        errors = [(n, -j) for j, n in enumerate(row) if j != index and n]
        times, other = max(errors) if errors else (0, 0)
        name = labels[-other] if errors else ""
        accuracy = row[index] / max(count, 1)
        results.append(ClassResult(labels[index], count, accuracy, name, times))
    return sorted(results, key=lambda result: (not result.images, result.accuracy))


def error_rates(confusion: Sequence[Sequence[int]]) -> list[list[float]]:
    """The confusion matrix as fractions of each row.

    Args:
        confusion: counts; rows are the true class, columns the predicted one.

    Returns:
        Fractions; rows sum to 1, or are 0 where a class has no images.

    Example:
        >>> error_rates([[3, 1], [0, 0]])
        [[0.75, 0.25], [0.0, 0.0]]
    """
    return [[count / max(sum(row), 1) for count in row] for row in confusion]


def training_seconds(timing: Sequence[dict[str, Any]]) -> float:
    """Seconds of training, over all resumptions; the clock of the timing restarts at each.

    Args:
        timing: lines of the timing, each with "seconds".

    Returns:
        The sum over resumptions.

    Example:
        >>> training_seconds([{"seconds": 60.0}, {"seconds": 120.0}, {"seconds": 30.0}])
        150.0
    """
    total, previous = 0.0, 0.0
    for line in timing:
        seconds = line["seconds"]
        total += seconds - previous if seconds >= previous else seconds
        previous = seconds
    return total


def images_per_second(timing: Sequence[dict[str, Any]]) -> float:
    """The median of the logged speeds.

    Args:
        timing: lines of the timing, each with "images_per_second"; at least one.

    Returns:
        Images per second.

    Example:
        >>> images_per_second([{"images_per_second": n} for n in (3.0, 1.0, 2.0)])
        2.0
    """
    rates = sorted(line["images_per_second"] for line in timing)
    return rates[len(rates) // 2]


def percent(fraction: float) -> str:
    """A fraction in percent, with two decimals.

    Args:
        fraction: 0 to 1.

    Returns:
        Text.

    Example:
        >>> percent(0.9123)
        '91.23 %'
    """
    return f"{100 * fraction:.2f} %"
