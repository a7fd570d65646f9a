"""One of several processes has too little memory: all compute their batches in parts."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.faults.test_memory import ERRORS, PLAIN
from tests.train.processes import in_processes
from tests.train.tiny import tiny
from vitrail.errors import TrainingError
from vitrail.methods import distributed
from vitrail.methods.base import Batch, Loss
from vitrail.methods.supervised import Supervised
from vitrail.run_folder import RunFolder
from vitrail.train.data_factory import open_datasets
from vitrail.train.factory import build_trainer


def train(samples: int | None, *settings: str) -> dict[str, Any] | str:
    """The weights after an epoch in which the second process has room for so many samples."""
    real = Supervised.forward

    def forward(self: Supervised, batch: Batch) -> Loss:
        loss = real(self, batch)
        if samples and len(batch) > samples and distributed.rank() and self.training:
            raise ERRORS[0]
        return loss

    Supervised.forward = forward  # type: ignore[method-assign]
    config = tiny(*PLAIN, "schedule.epochs=1", "data.limit=120", *settings)
    trainer, _ = build_trainer(config, RunFolder("unused"), open_datasets(config))
    trainer.callbacks = ()
    try:
        trainer.fit()
    except TrainingError as problem:
        return str(problem)
    finally:
        Supervised.forward = real  # type: ignore[method-assign]
    return {"parts": trainer.gradients.parts, **trainer.method.state_dict()}


def same(one: dict[str, Any], two: dict[str, Any]) -> None:
    for name, tensor in one.items():
        if isinstance(tensor, Tensor):
            torch.testing.assert_close(tensor, two[name], rtol=0, atol=2e-5)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_all_take_as_many_parts_as_one_needs(accumulate: int) -> None:
    setting = f"optim.accumulate={accumulate}"
    whole = in_processes(2, train, None, setting)
    assert [result["parts"] for result in whole] == [1, 1]
    parts = in_processes(2, train, 4, setting)  # of 15 samples per process
    assert [result["parts"] for result in parts] == [4, 4]
    same(whole[0], parts[0])
    same(parts[0], parts[1])
