"""From a checkpoint of a run that has not ended to a plain model folder."""

from pathlib import Path

from vitrail.arguments import checked
from vitrail.errors import ConfigError
from vitrail.hub.model_folder import save
from vitrail.run_folder import RunFolder
from vitrail.train.checkpoint import load_checkpoint
from vitrail.train.config import read_config
from vitrail.train.console import note
from vitrail.train.data_factory import open_datasets
from vitrail.train.factory import build_trainer
from vitrail.train.finish import finished_model


@checked
def save_checkpoint_model(source: str | Path, folder: str | Path, *, trust: bool = False) -> Path:
    """Saves the model of a checkpoint as a plain model folder.

    A checkpoint may have been written by any number of processes, with sharding or without; this
    needs one. The run's data are opened, for they name the classes.

    Args:
        source: a run, whose newest whole checkpoint is taken, or the folder of one checkpoint.
        folder: the model folder to write.
        trust: whether to read files that are not as they were written.

    Returns:
        The model folder.

    Raises:
        ConfigError: `source` is no run and no checkpoint of one.
        TrainingError: no checkpoint is whole.

    Example:
        >>> import tempfile
        >>> small = {"patch_size": 4, "dim": 16, "depth": 1, "heads": 2, "mlp_dim": 16}
        >>> run = vitrail.fit("ViT", data="digits", options=small, crop="none", epochs=1,
        ...                   out=tempfile.mkdtemp())
        >>> folder = save_checkpoint_model(run.folder, Path(tempfile.mkdtemp()) / "model")
        >>> vitrail.load(folder).image_size
        (8, 8)
    """
    source = Path(source)
    run = _run_of(source)
    if not run.settings_file.is_file():
        raise ConfigError(
            f"{source} is no run and no checkpoint of one: name a folder with "
            f"{run.settings_file.name}, or RUN/checkpoints/step-00000100."
        )
    config = read_config(run.settings_file)
    trainer, evaluator = build_trainer(config, run, open_datasets(config))
    path = None if run.path == source else source
    load_checkpoint(run, trainer.state, path=path, trust=trust, tell=note)
    model = finished_model(trainer, evaluator)
    if trainer.result_method.classifier(model) is None:
        model.labels = None  # it learned no classes
    return save(model, folder)


def _run_of(source: Path) -> RunFolder:
    is_step = source.name.startswith("step-") and source.parent.name == "checkpoints"
    return RunFolder(source.parents[1] if is_step else source)
