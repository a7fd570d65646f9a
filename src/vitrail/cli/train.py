"""`vitrail train`: from images to a model and a report."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vitrail.cli.common import DeviceOption, out
from vitrail.errors import ConfigError
from vitrail.intervals import interval_text
from vitrail.messages import _

if TYPE_CHECKING:
    from vitrail.train.folds import FoldResults

HELP = _("Train a model and write a report. `vitrail config` lists all settings.")
EXAMPLES = (
    "vitrail train folder:PHOTOS",
    "vitrail train folder:PHOTOS schedule.epochs=30 optim.lr=3e-4",
    "vitrail train recipe.yaml --out runs/first",
)


def run(
    what: Annotated[
        str | None,
        typer.Argument(
            help=_("A recipe (.yaml) or images: folder:PATH, hub:NAME, fashion-mnist, ...")
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help=_("Settings that differ, such as optim.lr=0.001."))
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", "-o", help=_("The run's folder. Default: runs/NAME."))
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help=_("Continue a run where it stopped."))
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2, help=_("Cross-validation: divide the images into so many parts, a run for each.")
        ),
    ] = None,
    device: DeviceOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help=_("Say what would be trained and how long it takes; write nothing.")
        ),
    ] = False,
    no_check: Annotated[
        bool,
        typer.Option(
            "--no-check", help=_("Look for no damaged images first; the same as data.check=false.")
        ),
    ] = False,
) -> None:
    """Trains a model."""
    changes = list(overrides or ())
    if what is not None and "=" in what.split(":")[0]:
        changes.insert(0, what)
        sources = [text for text in changes if "=" not in text.split(":")[0]]
        what = sources[0] if sources else None  # it may stand after settings
        changes = [text for text in changes if text != what]
    if what is not None:
        _check_model_name(what, changes)

    from vitrail.run_folder import RunFolder
    from vitrail.train.config import make_config, read_config
    from vitrail.train.model_factory import check_model

    if device is not None:
        from vitrail.train.devices import choose_device

        changes.append(f"train.device={choose_device(device)}")
    if no_check:
        changes.append("data.check=false")
    if what is None:
        if not (resume and folder is not None):
            raise ConfigError(
                "nothing to train on: give a recipe or images, as in `vitrail train folder:PHOTOS`."
            )
        run_folder = RunFolder(folder if folds is None else folder / "fold-1")
        if not run_folder.settings_file.is_file():
            file = run_folder.settings_file.name
            raise ConfigError(f"{run_folder} holds no run to resume: it has no {file}.")
        config, name = read_config(run_folder.settings_file, changes), ""
    elif _is_recipe(what):
        config, name = read_config(what, changes), Path(what).stem
    else:
        config, name = make_config({"data": {"source": what}}, changes), what
    check_model(config)  # wrong options are said before all that trains is imported

    from vitrail.lens.report_data import percent
    from vitrail.train.factory import train_run
    from vitrail.train.folds import train_folds
    from vitrail.train.runs import default_folder, train_and_report

    folder = folder or default_folder(name)
    if dry_run and folds is not None:
        raise ConfigError("--dry-run estimates one run: leave --folds out.")
    if dry_run:
        estimate = train_run(config, folder, resume=resume, dry_run=True)["estimate"]
        text = _("estimate: {minutes:.1f} minutes, {memory:.1f} GB of memory; nothing was written")
        text = text.format(minutes=estimate["seconds"] / 60, memory=estimate["memory_bytes"] / 1e9)
        out.print(text)
        return
    command = shlex.join(["vitrail", *sys.argv[1:]])
    if folds is not None:
        results = train_folds(config, folder, folds, resume=resume, command=command)
        if results.runs[0].metrics:  # of several processes, the first
            print_folds(results)
        return
    result = train_and_report(config, folder, resume=resume, command=command)
    if not result.metrics:  # one of several processes, and not the first
        return
    if "top1" in result.metrics:
        text = _("accuracy {accuracy} on {split} (95 % interval: {interval})")
        if "evaluated_by" in result.details:
            text = _("accuracy {accuracy} by {evaluator} on {split} (95 % interval: {interval})")
        text = text.format(
            accuracy=percent(result.metrics["top1"]),
            interval=interval_text(result.metrics["top1_low"], result.metrics["top1_high"]),
            evaluator=result.details.get("evaluated_by"),
            split=result.details["split"],
        )
        out.print(text, highlight=False, markup=False)
    else:
        names = [
            name for name in ("map", "micro_f1", "mae", "rmse", "r2") if name in result.metrics
        ]
        text = ", ".join(f"{name} {result.metrics[name]:.4g}" for name in names)
        if text:
            text = _("{figures} on {split}").format(figures=text, split=result.details["split"])
            out.print(text, highlight=False, markup=False)
    if "baseline_top1" in result.metrics:
        text = _("{name} beside it: {accuracy} (95 % interval: {interval})")
        limits = (result.metrics[f"baseline_top1_{end}"] for end in ("low", "high"))
        accuracy = percent(result.metrics["baseline_top1"])
        text = text.format(
            name=config.train.baseline, accuracy=accuracy, interval=interval_text(*limits)
        )
        out.print(text, highlight=False, markup=False)
    model_folder = RunFolder(folder).model_folder
    out.print(_("model:  {path}").format(path=model_folder), highlight=False)
    out.print(_("report: {path}").format(path=result.report), highlight=False)


def _is_recipe(what: str) -> bool:
    """Whether it is a recipe, and not a dataset such as folder:photos.yaml."""
    return what.endswith((".yaml", ".yml")) and (":" not in what or Path(what).is_file())


def _check_model_name(what: str, overrides: list[str]) -> None:
    """Raises `ConfigError` for a name that no model has, before torch is imported."""
    from vitrail.hub.bundled import bundled_models
    from vitrail.models.builtin_names import check_name
    from vitrail.train.recipe_file import overridden, read_recipe

    recipe = read_recipe(Path(what)) if _is_recipe(what) else {}
    values = overridden(recipe, overrides)
    model, train = values.get("model"), values.get("train")
    if isinstance(train, dict) and train.get("plugins"):
        return  # they may bring the model
    name = model.get("name") if isinstance(model, dict) and not model.get("weights") else None
    if name in bundled_models():
        raise ConfigError(f"{name!r} has weights: write model.weights={name}, to train from them.")
    if isinstance(name, str):
        check_name(name)


def _print_fold_values(results: "FoldResults") -> None:
    """Prints a table of runs that are compared by another figure than accuracy."""
    row = "{:>4}  {:>6}  {:>8}"
    lines = [row.format(_("fold"), _("images"), str(results.key))]
    for number, (run, value) in enumerate(zip(results.runs, results.values, strict=True), 1):
        lines.append(row.format(number, int(run.metrics["count"]), f"{value:.4g}"))
    count = sum(int(run.metrics["count"]) for run in results.runs)
    mean = sum(results.values) / len(results.values)
    spread = _("(standard deviation {value:.4g})").format(value=results.std)
    lines.append(f"{row.format(_('mean'), count, f'{mean:.4g}')}  {spread}")
    out.print("\n".join(lines), highlight=False, markup=False)


def print_folds(results: "FoldResults") -> None:
    """Prints a table of the runs of a cross-validation.

    Args:
        results: of all runs.

    Example:
        >>> from vitrail.train.folds import FoldResults
        >>> from vitrail.train.runs import TrainingRun
        >>> figures = {"top1": 0.5, "top1_low": 0.34, "top1_high": 0.66, "count": 36}
        >>> print_folds(FoldResults([TrainingRun(Path("pets"), figures, {})] * 2))
        fold  images  accuracy  95 % interval
           1      36    50.0 %  34.0-66.0 %
           2      36    50.0 %  34.0-66.0 %
        mean      72    50.0 %  38.7-61.3 %  (standard deviation 0.0 %)
    """
    if results.key != "top1":
        _print_fold_values(results)
        return
    row = "{:>4}  {:>6}  {:>8}  {}"
    lines = [row.format(_("fold"), _("images"), _("accuracy"), _("95 % interval"))]
    for number, run in enumerate(results.runs, 1):
        figures = run.metrics
        interval = interval_text(figures["top1_low"], figures["top1_high"])
        accuracy = f"{100 * figures['top1']:.1f} %"
        lines.append(row.format(number, int(figures["count"]), accuracy, interval))
    count = sum(int(run.metrics["count"]) for run in results.runs)
    spread = _("(standard deviation {percent:.1f} %)").format(percent=100 * results.std)
    interval = f"{interval_text(*results.interval)}  {spread}"
    lines.append(row.format(_("mean"), count, f"{100 * results.top1:.1f} %", interval))
    out.print("\n".join(lines), highlight=False, markup=False)
