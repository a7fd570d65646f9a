"""MLflow: a store of files in the run's folder, or where MLFLOW_TRACKING_URI says."""

import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from vitrail.run_folder import RunFolder
from vitrail.train.writers.base import Settings, Writer

EXPERIMENT = "vitrail"
LONGEST = 6000  # characters of a value, which MLflow limits
MOST = 100  # settings at once, which MLflow limits


class MlflowWriter(Writer):
    """Writes a run of MLflow.

    Args:
        run: folder of the run.

    Example:
        >>> MlflowWriter(RunFolder("runs/pets")).state()
        {'id': None}
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.id: str | None = None  # of the run there; None until it exists
        self.notes: list[str] = []
        self.client: Any = None

    def open(self, step: int) -> None:
        """step → the same run as before, if there was one."""
        del step
        # MLflow maintains its store of files no more, and asks whether it is meant; nothing of a
        # run is reported to anyone.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.tracking import MlflowClient

        store = os.environ.get("MLFLOW_TRACKING_URI")
        self.client = MlflowClient(store or self.run.mlflow_folder.resolve().as_uri())
        if self.id is None:
            experiment = self.client.get_experiment_by_name(EXPERIMENT)
            number = (
                self.client.create_experiment(EXPERIMENT)
                if experiment is None
                else experiment.experiment_id
            )
            name = self.run.path.resolve().name
            self.id = self.client.create_run(number, run_name=name).info.run_id
        else:
            self.client.update_run(self.id, status="RUNNING")

    def close(self) -> None:
        """Ends the run."""
        self.client.set_terminated(self.id)

    def settings(self, values: Settings) -> None:
        """values → the parameters."""
        from mlflow.entities import Param

        recorded = self.client.get_run(self.id).data.params
        new = [
            Param(name, str(value)[:LONGEST])
            for name, value in values.items()
            if name not in recorded  # they cannot be changed
        ]
        for start in range(0, len(new), MOST):
            self.client.log_batch(self.id, params=new[start : start + MOST])

    def scalars(self, step: int, split: str, values: Mapping[str, float]) -> None:
        """step, split, values → a point of the curve "split/name" for each."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [Metric(f"{split}/{name}", value, now, step) for name, value in values.items()]
        for start in range(0, len(points), MOST):
            self.client.log_batch(self.id, metrics=points[start : start + MOST])

    def text(self, step: int, name: str, text: str) -> None:
        """step, name, text → a line of a text."""
        self.notes.append(f"{step}\t{name}\t{text}")
        self.client.log_text(self.id, "\n".join(self.notes) + "\n", "notes.txt")

    def image(self, step: int, name: str, pixels: np.ndarray) -> None:
        """step, name, pixels → a picture."""
        self.client.log_image(self.id, pixels, key=name, step=step)

    def state(self) -> dict[str, Any]:
        """The id of the run there."""
        return {"id": self.id}

    def load_state(self, state: dict[str, Any]) -> None:
        """state → the run goes on there."""
        self.id = state.get("id", self.id)
