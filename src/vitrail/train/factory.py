"""From settings to a run: its trainer with all its parts, and the run itself.

Only the factories, here and in `data_factory` and `model_factory`, read settings.
"""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from vitrail.arguments import checked
from vitrail.data.own_transforms import TRANSFORMS
from vitrail.data.registry import DATASETS, absolute_name
from vitrail.data.splits import Parts
from vitrail.errors import ConfigError
from vitrail.hub.model_folder import save
from vitrail.messages import _, ngettext
from vitrail.methods import distributed
from vitrail.methods.base import Method
from vitrail.models.base import Backbone
from vitrail.plugins import plugins_of
from vitrail.run_folder import RunFolder
from vitrail.train.baseline import check_baseline, train_baseline
from vitrail.train.best import KeepBest
from vitrail.train.callback import Callback
from vitrail.train.callbacks import Checkpointing, ImageLogging, Validation
from vitrail.train.config import RunConfig, make_config, read_config, resumed_config
from vitrail.train.console import describe_bad_image, note, progress_bar
from vitrail.train.data_factory import (
    Datasets,
    changed_samples,
    digests,
    open_datasets,
    open_with_method,
)
from vitrail.train.devices import choose_device, join_processes, restarts
from vitrail.train.evaluator import Evaluator
from vitrail.train.few_images import Fitted, fit_to_images
from vitrail.train.finish import write_results
from vitrail.train.gradients import check_accumulate
from vitrail.train.image_logging import pick_sample
from vitrail.train.model_factory import build_method, build_model, check_model
from vitrail.train.monitor.callback import Monitor
from vitrail.train.optim import OPTIMIZERS, build_optimizer, make_ema, parameter_groups
from vitrail.train.run_log import RunLog
from vitrail.train.schedule import Schedule
from vitrail.train.seeds import seed_all
from vitrail.train.setting_errors import flatten
from vitrail.train.spikes import SpikeWatch
from vitrail.train.stopping import explaining_stops
from vitrail.train.stream_factory import build_evaluator, build_stream
from vitrail.train.streams import Stream
from vitrail.train.summary import announce_run, estimate
from vitrail.train.trainer import Trainer
from vitrail.train.training_sections import OptimConfig
from vitrail.train.writers.factory import build_writers, check_packages


def train_run(
    settings: RunConfig | Mapping[str, Any] | str | Path,
    folder: str | Path,
    *,
    resume: bool = False,
    command: str | None = None,
    callbacks: Sequence[Callback] = (),
    model: Backbone | None = None,
    parts: Parts | None = None,
    dry_run: bool = False,
    trust: bool = False,
) -> dict[str, Any]:
    """Trains a model in a run folder, and evaluates and saves it. `vitrail.fit` calls it.

    Args:
        settings: nested values, a recipe's path, or what `read_config` returns.
        folder: folder of the run, which must be empty or new.
        resume: whether to go on with the run in the folder.
        command: command line that started the run, which is written down.
        callbacks: further callbacks of the trainer.
        model: model to start from, in place of the weights that the settings name; it is saved in
            the run's folder.
        parts: the splits of the data, in place of those that the settings name.
        dry_run: whether to make only a few steps, which leave nothing behind, and to estimate what
            the run takes.
        trust: whether to resume from files that are not as they were written; their sha256 is in
            manifest.json.

    Returns:
        The final figures, such as "top1"; of several processes only the main one has them. After a
        dry run, what `summarize_run` returns, and an "estimate" of "seconds" and "memory_bytes".

    Raises:
        VitrailError: the settings, the data or the folder do not fit; nothing was written then.
        TrainingError: training stopped; the newest checkpoint stays.

    Example:
        >>> import tempfile
        >>> options = {"patch_size": 4, "dim": 8, "depth": 1, "heads": 1, "mlp_dim": 8}
        >>> settings = {"data": {"source": "digits", "limit": 20, "augment": {"crop": "none"}},
        ...             "model": {"name": "ViT", "options": options}, "schedule": {"epochs": 1}}
        >>> figures = train_run(settings, tempfile.mkdtemp())
        >>> figures["count"]
        355
    """
    config = _to_config(settings)
    source = config.data.source
    config = _with_data(config, source=absolute_name(source))
    run = RunFolder(folder)
    state = join_processes()
    if restarts():  # all processes go by what the first one finds
        resume = resume or distributed.gather_objects(run.settings_file.is_file())[0]
    config, changes = _check_start(config, run, resume=resume, is_main=state.is_main_process)
    if model is None:
        check_model(config)
    check_baseline(config)
    config, datasets, choices, features = _open(config, parts, resume=resume)
    summary: dict[str, Any] = {}
    remarks = [*choices, *changes]
    announce = functools.partial(announce_run, config, datasets, run, summary, remarks)
    trainer, evaluator = build_trainer(config, run, datasets, callbacks, model, features, announce)
    config = _with_plugins(config, trainer.method)
    if dry_run:
        images = len(datasets.evaluation) * (config.schedule.epochs // config.train.eval_every)
        return {**summary, "estimate": estimate(trainer, images)}
    with run.lock() if trainer.is_main else contextlib.nullcontext():
        if trainer.is_main:
            _check_free(run, resume=resume)  # another process may have trained meanwhile
            is_new = not resume or run.is_unborn
            if run.is_unborn:
                run.clear()
            _write_start(config, run, datasets, command if is_new else None)
            run.write_summary({**summary, "remarks": remarks})
            if model is not None and not resume:
                save(model, run.initial_folder)
        has_checkpoint = distributed.gather_objects(bool(run.checkpoints))[0]
        trainer.fit(resume=resume and has_checkpoint, trust=trust)
        with explaining_stops(run, config.data.batch_size, config.optim.accumulate):
            return _finish(config, datasets, trainer, evaluator, source)


def _finish(
    config: RunConfig, datasets: Datasets, trainer: Trainer, evaluator: Evaluator, source: str
) -> dict[str, Any]:
    """Evaluates and saves what was trained."""
    evaluators = {"validation": evaluator} if datasets.validation is not None else {}
    if datasets.validation is None:
        evaluators["test"] = evaluator
    elif datasets.test is not None:
        method = trainer.result_method
        evaluators["test"] = build_evaluator(config, method, datasets.train, datasets.test)
    figures = write_results(trainer, evaluators, method_name=config.method.name, source=source)
    if config.train.baseline is not None:
        baseline = train_baseline(config, datasets, trainer.backbone.preprocess, build_trainer)
        run = trainer.run_folder
        run.write_evaluation({**run.evaluation, "baseline": baseline})
        numbers = {k: v for k, v in baseline.items() if isinstance(v, float) and k != "seconds"}
        figures |= {f"baseline_{name}": value for name, value in numbers.items()}
    return figures


@checked
def build_trainer(
    config: RunConfig,
    run: RunFolder,
    datasets: Datasets,
    callbacks: Sequence[Callback] = (),
    model: Backbone | None = None,
    features: Tensor | None = None,
    announce: Callable[[Method, Stream], None] | None = None,
) -> tuple[Trainer, Evaluator]:
    """The trainer of a run with all its parts.

    Args:
        config: the settings.
        run: folder of the run; nothing is written to it yet.
        datasets: as `open_datasets` returns them.
        callbacks: further callbacks, called before checkpoints are written.
        model: model to start from, in place of the weights that the settings name.
        features: (N, D), of the training samples, for a method that reads features; None computes
            them.
        announce: called before the optimizer is made, for which torch imports its compiler.

    Returns:
        The trainer, and the evaluator of the validation samples, or of the test samples where there
        are no others.

    Raises:
        ConfigError: settings do not fit each other, the data or the model.

    Example:
        >>> options = {"patch_size": 4, "dim": 8, "depth": 1, "heads": 1, "mlp_dim": 8}
        >>> config = make_config({"data": {"source": "digits", "limit": 20, "batch_size": 4},
        ...                       "model": {"name": "ViT", "options": options}})
        >>> trainer, _ = build_trainer(config, RunFolder("unused"), open_datasets(config))
        >>> trainer.epoch_steps, trainer.total
        (5, 50)
    """
    if config.train.threads is not None:
        torch.set_num_threads(config.train.threads)
    seed_all(config.train.seed)
    model = build_model(config, datasets.train, model)
    method = build_method(config, model, datasets.train)
    stream = build_stream(config, method, datasets.train, features)
    check_accumulate(config.optim.accumulate, len(stream))
    evaluator = build_evaluator(config, method, datasets.train, datasets.evaluation)
    if announce is not None:
        announce(method, stream)
    judges: tuple[Callback, ...] = ()
    if datasets.validation is not None:  # epochs are not judged by the test samples
        judges = _judges(config, method, evaluator)
        evaluator.prepare()
    optim, train, writers = config.optim, config.train, build_writers(run, config.train)
    trainer = Trainer(
        method,
        stream,
        _optimizer(optim, method),
        schedule=_schedule(config, len(stream) // optim.accumulate),
        run_folder=run,
        ema=make_ema(method, optim.ema) if optim.ema else None,
        accumulate=optim.accumulate,
        clip=optim.clip,
        clip_by=optim.clip_by,
        seed=train.seed,
        precision=train.precision,
        device=train.device,
        on_nan=train.on_nan,
        sharding=train.sharding,
        callbacks=(
            SpikeWatch(),
            RunLog(run, writers, train.log_every, flatten(config.plain())),
            *([Monitor(writers, every=train.monitor)] if train.monitor else ()),
            *judges,
            ImageLogging(pick_sample(datasets.evaluation, model.preprocess), train.eval_every),
            *callbacks,
            Checkpointing(train.save_every),
        ),
    )
    return trainer, evaluator


def _open(config: RunConfig, parts: Parts | None, *, resume: bool) -> Fitted:
    """The settings with what the data decide, the samples, and sentences on both."""
    with progress_bar(_("reading images")) as progress:
        _suitable, datasets = open_with_method(config, progress, parts)
    reopen = functools.partial(open_datasets, parts=parts, check_method=False)
    config, datasets, remarks, features = fit_to_images(config, datasets, reopen, progress_bar)
    differences = changed_samples(config, datasets.splits)
    if resume and differences:
        raise ConfigError(
            f"{differences[0]} A resumed run keeps its data: restore them, or start a new run."
        )
    config = _with_data(config, digests=digests(datasets.splits))
    return Fitted(config, datasets, remarks + differences, features)


def _judges(config: RunConfig, method: Method, evaluator: Evaluator) -> tuple[Callback, ...]:
    """What judges epochs by validation samples."""
    validation = Validation(evaluator, config.train.eval_every)
    keep = config.train.keep == "best" and "labels" in method.inputs
    if not keep and config.train.early_stopping is None:
        return (validation,)
    return validation, KeepBest(config.train.early_stopping, keep=keep)


def _schedule(config: RunConfig, epoch_steps: int) -> Schedule:
    schedule, optim = config.schedule, config.optim
    return Schedule(
        epoch_steps * schedule.epochs,
        warmup=schedule.warmup_fraction(epoch_steps),
        min_lr=schedule.min_lr,
        shape=schedule.shape,
        drop_at=schedule.drop_at,
        weight_decay=optim.weight_decay,
        weight_decay_end=optim.weight_decay_end,
    )


def _optimizer(optim: OptimConfig, method: Method) -> Optimizer:
    groups = parameter_groups(
        method,
        lr=optim.lr,
        weight_decay=optim.weight_decay,
        layer_decay=optim.layer_decay,
        per_module=optim.per_module,
    )
    return build_optimizer(
        optim.optimizer,
        groups,
        options=optim.optimizer_options,
        betas=optim.betas,
        eps=optim.eps,
    )


def _with_plugins(config: RunConfig, method: Method) -> RunConfig:
    """The settings, with the files and modules that the run's own parts come from."""
    sources = {
        DATASETS.source(config.data.source.partition(":")[0]),
        OPTIMIZERS.source(config.optim.optimizer),
        *map(TRANSFORMS.source, config.data.transforms),
        *plugins_of(method.modules()),
    }
    plugins = sorted(sources - {""})
    return config.model_copy(update={"train": config.train.model_copy(update={"plugins": plugins})})


def _with_data(config: RunConfig, **values: Any) -> RunConfig:
    """The settings with others of the data."""
    if all(getattr(config.data, name) == value for name, value in values.items()):
        return config
    return config.model_copy(update={"data": config.data.model_copy(update=values)})


def _to_config(settings: RunConfig | Mapping[str, Any] | str | Path) -> RunConfig:
    if isinstance(settings, RunConfig):
        return settings
    if isinstance(settings, str | Path):
        return read_config(settings)
    return make_config(dict(settings))


def _check_start(
    config: RunConfig, run: RunFolder, *, resume: bool, is_main: bool
) -> tuple[RunConfig, list[str]]:
    """The settings, and what differs of those of the run that is resumed.

    Raises `ConfigError` if the run cannot start here with these settings.
    """
    changes: list[str] = []
    if resume:
        if not run.settings_file.is_file():
            raise ConfigError(f"{run} holds no run to resume: it has no {run.settings_file.name}.")
        old = read_config(run.settings_file)
        old = _with_data(old, source=absolute_name(old.data.source))
        if not run.is_unborn:
            config, changes = resumed_config(old, config)
    elif is_main:
        if run.is_unborn:
            read_config(run.settings_file)  # raises if it is not a run's
        _check_free(run, resume=resume)
    _check_outside(config.data.source, run)
    check_packages(config.train)
    if choose_device(config.train.device).type == "cpu" and config.train.precision == "fp16":
        raise ConfigError("train.precision='fp16' needs a GPU: use bf16 or fp32 on a CPU.")
    if config.train.sharding is not None and config.train.compile:
        raise ConfigError(
            "train.compile does not compile what train.sharding shares out: leave it out."
        )
    return config, changes


def _check_free(run: RunFolder, *, resume: bool) -> None:
    """Raises `ConfigError` if a new run would overwrite what the folder holds."""
    if resume:
        return
    if run.exists and not run.is_unborn:
        raise ConfigError(
            f"{run} already holds a run: resume it by resume=True, or choose another folder by "
            "out=FOLDER."
        )
    run.check_ours()


def _check_outside(source: str, run: RunFolder) -> None:
    """Raises `ConfigError` if the run's folder is among the data, and would be read as such."""
    _kind, _separator, rest = source.partition(":")
    data = Path(rest)
    if rest and data.is_dir() and run.path.resolve().is_relative_to(data.resolve()):
        raise ConfigError(
            f"{run} lies in the folder of the data, {data}: choose another folder by out=FOLDER."
        )


def _write_start(
    config: RunConfig, run: RunFolder, datasets: Datasets, command: str | None
) -> None:
    """Writes the settings, the command, and which images were left out."""
    run.write_settings(config.plain())
    if command is not None:
        run.write_command(command)
    lists = [dataset.bad_images for dataset in datasets.splits.values()]
    bad_images = list(dict.fromkeys(bad for listed in lists for bad in listed))
    if bad_images:
        run.write_bad_images(bad_images)
        text = ngettext(
            "left out {count} image that cannot be read, listed in {file}:",
            "left out {count} images that cannot be read, listed in {file}:",
            len(bad_images),
        )
        note(text.format(count=len(bad_images), file=run.bad_images_file))
        note(*(f"  {describe_bad_image(*bad)}" for bad in bad_images[:10]))
