"""The writers of a run."""

import importlib.util

from vitrail.errors import ConfigError, how_to_install
from vitrail.run_folder import RunFolder
from vitrail.train.training_sections import TrainConfig
from vitrail.train.writers.base import Writers

OPTIONAL = ("wandb", "mlflow")  # settings of the section `train`, and names of packages


def check_packages(config: TrainConfig) -> None:
    """Checks that the packages are there which the settings name.

    Args:
        config: how the run proceeds.

    Raises:
        ConfigError: one is not installed.

    Example:
        >>> check_packages(TrainConfig())
    """
    for name in OPTIONAL:
        if getattr(config, name) and importlib.util.find_spec(name) is None:
            raise ConfigError(f"train.{name} needs the package {name}: {how_to_install(name)}")


def build_writers(run: RunFolder, config: TrainConfig) -> Writers:
    """The writers that settings name: the run's folder and TensorBoard, and what else is wanted.

    Args:
        run: folder of the run; nothing is written yet.
        config: how the run proceeds.

    Returns:
        All of them as one.

    Example:
        >>> len(build_writers(RunFolder("runs/pets"), TrainConfig()).writers)
        2
    """
    from vitrail.train.writers.files import FileWriter
    from vitrail.train.writers.mlflow import MlflowWriter
    from vitrail.train.writers.tensorboard import TensorBoardWriter
    from vitrail.train.writers.wandb import WandbWriter

    writers = [FileWriter(run), TensorBoardWriter(run)]
    optional = {"wandb": WandbWriter, "mlflow": MlflowWriter}
    return Writers(
        [*writers, *(kind(run) for name, kind in optional.items() if getattr(config, name))]
    )
