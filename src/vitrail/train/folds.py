"""Cross-validation: a run for each part of a small set, judged by the images of that part."""

import json
import statistics
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from vitrail.arguments import checked
from vitrail.errors import ConfigError
from vitrail.files import atomic_write
from vitrail.intervals import wilson
from vitrail.methods import distributed
from vitrail.run_folder import RunFolder
from vitrail.train.config import RunConfig
from vitrail.train.runs import TrainingRun, train_and_report
from vitrail.values import Range

KEYS = ("top1", "map", "mae")  # of classes, several labels, numbers


class FoldResults(NamedTuple):
    """What the runs of a cross-validation have reached.

    Args:
        runs: one per part.

    Example:
        >>> metrics = ({"top1": 0.8, "count": 10}, {"top1": 0.9, "count": 10})
        >>> results = FoldResults([TrainingRun(Path("runs/pets/fold-1"), m, {}) for m in metrics])
        >>> round(results.top1, 2), [round(limit, 2) for limit in results.interval]
        (0.85, [0.64, 0.95])
    """

    runs: list[TrainingRun]

    @property
    def key(self) -> str | None:
        """The figure that the runs are compared by; None if they have none."""
        metrics = self.runs[0].metrics
        return next((key for key in KEYS if key in metrics), None)

    @property
    def values(self) -> list[float]:
        """That figure of each run."""
        return [run.metrics[self.key] for run in self.runs] if self.key is not None else []

    @property
    def accuracies(self) -> list[float]:
        """The accuracy of each run on the images of its part."""
        return [run.metrics["top1"] for run in self.runs]

    @property
    def top1(self) -> float:
        """The mean accuracy."""
        return statistics.fmean(self.accuracies)

    @property
    def std(self) -> float:
        """The standard deviation of the figure."""
        return statistics.stdev(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy on all images, each of which was judged once."""
        counts = [(run.metrics["top1"], int(run.metrics["count"])) for run in self.runs]
        return wilson(round(sum(top1 * n for top1, n in counts)), sum(n for _top1, n in counts))


@checked
def train_folds(
    config: RunConfig,
    folder: Path,
    folds: Annotated[int, Range(2)],
    *,
    resume: bool = False,
    command: str | None = None,
) -> FoldResults:
    """Divides the training images into parts, and trains a run for each on all other parts.

    Args:
        config: the settings.
        folder: a folder for the runs, which must be empty or new.
        folds: number of parts.
        resume: whether to go on with the runs in the folder.
        command: command line that started them, which is written down.

    Returns:
        The runs, fold-1 and so on, and their figures, which folds.json in the folder holds too.

    Raises:
        VitrailError: the settings, the data or the folder do not fit.
        TrainingError: training stopped; the newest checkpoint stays.

    Example:
        >>> import tempfile
        >>> from vitrail.train.config import make_config
        >>> config = make_config({
        ...     "data": {"source": "digits", "augment": {"crop": "none"}, "validation": 0},
        ...     "model": {"name": "ViT", "options": {"patch_size": 4, "dim": 8, "depth": 1,
        ...                                          "heads": 1, "mlp_dim": 8}},
        ...     "schedule": {"epochs": 1}})
        >>> results = train_folds(config, Path(tempfile.mkdtemp()), 2)
        >>> [run.metrics["count"] for run in results.runs], results.runs[1].folder.name
        ([721, 721], 'fold-2')
    """
    if not resume and folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(
            f"{folder} is not empty: go on with the runs in it by resume=True, or choose another "
            "folder by out=FOLDER."
        )
    runs = []
    for number in range(1, folds + 1):
        values = {"folds": folds, "fold": number, "digests": {}}
        data = config.data.model_copy(update=values)
        run = RunFolder(folder / f"fold-{number}")
        fold = config.model_copy(update={"data": data})
        resume_fold = resume and run.settings_file.is_file()
        runs.append(train_and_report(fold, run.path, resume=resume_fold, command=command))
    results = FoldResults(runs)
    if distributed.rank() > 0:  # the first process has the figures, and writes them
        return results
    if results.key is None:
        raise ConfigError(
            f"method {config.method.name!r} gives no figure to compare: leave folds={folds} out."
        )
    _write(folder, results)
    return results


def _write(folder: Path, results: FoldResults) -> None:
    figures: dict[str, Any] = {str(results.key): statistics.fmean(results.values)}
    if results.key == "top1":
        figures["top1_low"], figures["top1_high"] = results.interval
    figures |= {"std": results.std, "folds": [dict(run.metrics) for run in results.runs]}
    atomic_write(folder / "folds.json", json.dumps(figures, indent=1))
