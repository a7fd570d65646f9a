"""A batch that does not fit into memory is computed in parts, with the same loss."""

import threading
import weakref
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.cli.conftest import digits_model
from tests.train.tiny import tiny
from vitrail import ViT, memory
from vitrail.data.loader import Loader
from vitrail.data.registry import open_dataset
from vitrail.errors import ConfigError, TrainingError
from vitrail.manifest import check_manifest, hashed_folder
from vitrail.memory import is_out_of_memory
from vitrail.methods.base import Batch, Loss
from vitrail.methods.supervised import Supervised
from vitrail.models.features import Features
from vitrail.ops.guard import TooLargeError, guarded
from vitrail.run_folder import RunFolder
from vitrail.train import factory
from vitrail.train.evaluator import Evaluator
from vitrail.train.factory import train_run
from vitrail.train.streams import ImageStream, evaluation_transform

PLAIN = ("model.options.dropout=0", "model.options.drop_path=0", "data.batch_size=30")
ERRORS = [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: no")]
MORE_ERRORS = [
    MemoryError(),
    RuntimeError("std::bad_alloc"),
    RuntimeError("can't start new thread"),
    *ERRORS,
]
ONEDNN_ERROR = RuntimeError("could not create a primitive")


def limit(patch: pytest.MonkeyPatch, samples: int, problem: Exception) -> None:
    """Lets a forward of more samples fail, after it has begun."""
    real = Supervised.forward

    def forward(self: Supervised, batch: Batch) -> Loss:
        loss = real(self, batch)
        if len(batch) > samples and self.training:
            raise problem
        return loss

    patch.setattr(Supervised, "forward", forward)


@pytest.mark.parametrize("problem", ERRORS)
def test_the_parts_add_up_to_the_batch(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    problem: Exception,
) -> None:
    for accumulate in (1, 3):
        settings = (*PLAIN, f"optim.accumulate={accumulate}", "schedule.epochs=1")
        whole, parts = (RunFolder(tmp_path / f"{name}{accumulate}") for name in ("whole", "parts"))
        train_run(tiny(*settings), whole.path)
        capsys.readouterr()
        with monkeypatch.context() as patch:
            limit(patch, 8, problem)
            train_run(tiny(*settings), parts.path)
        lines = [x for x in capsys.readouterr().err.splitlines() if "do not fit into memory" in x]
        assert [line.split()[0] for line in lines] == ["30", "15"]
        for one, two in zip(whole.metrics, parts.metrics, strict=True):
            assert one["step"] == two["step"]
            assert one["loss"] == pytest.approx(two["loss"], abs=1e-6)
            if "grad_norm" in one:
                assert one["grad_norm"] == pytest.approx(two["grad_norm"], rel=1e-4)


def test_one_sample_that_does_not_fit_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 0, ERRORS[0])
    with pytest.raises(TrainingError, match="a batch of 30 does not fit into memory"):
        train_run(tiny(*PLAIN), tmp_path / "run")


def test_an_evaluation_that_does_not_fit_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object, **_keywords: object) -> None:
        raise ERRORS[1]

    config, run = tiny("data.limit=100", "schedule.epochs=1"), RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(factory, "write_results", refuse)
        with pytest.raises(TrainingError, match="batch of 32 does not .* data.batch_size=16 optim"):
            train_run(config, run.path)
    train_run(config, run.path, resume=True)
    assert run.evaluation


@pytest.mark.parametrize("knn", [False, True])
def test_an_evaluation_is_computed_in_halves(monkeypatch: pytest.MonkeyPatch, knn: bool) -> None:
    digits = open_dataset("digits", limit=50)
    model = digits_model().eval()
    model.reset_head(10)
    method = Supervised(model)
    loader = Loader(digits, 25, model.preprocess.crop)
    stream = ImageStream(loader, evaluation_transform(model.preprocess))
    evaluator = Evaluator(digits, loader, model.preprocess, stream)

    def figures() -> list[float]:
        result = evaluator.by_knn(model) if knn else evaluator(method, model)
        assert result is not None
        logged = {} if knn else evaluator.figures(method, model)
        return [result.figures["top1"], result.figures["loss"], *logged.values()]

    expected, sizes, real = figures(), list[int](), type(model).embed

    def embed(self: ViT, images: Tensor) -> Features:
        sizes.append(len(images))
        if len(images) > 7:
            raise MemoryError
        return real(self, images)

    monkeypatch.setattr(type(model), "embed", embed)
    assert figures() == pytest.approx(expected, abs=1e-6)
    assert sizes[:4] == [25, 13, 7, 6]


def test_a_save_needs_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with hashed_folder(tmp_path / "folder") as writer:
        writer.write("a.txt", "text")
    check_manifest(tmp_path / "folder")


def test_batch_norms_are_told_of_and_not_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 8, ERRORS[0])
    monkeypatch.setattr(Supervised, "batch_wide", True)
    with pytest.raises(TrainingError) as caught:
        train_run(tiny(*PLAIN), tmp_path / "run")
    cure = "data.batch_size=15 optim.accumulate=2, which is not the same: the loss compares the"
    assert cure in str(caught.value)


@pytest.mark.parametrize("problem", MORE_ERRORS, ids=repr)
def test_all_that_libraries_raise_is_out_of_memory(problem: Exception) -> None:
    assert is_out_of_memory(problem)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    unsupported = "could not create a primitive descriptor for the matmul primitive. Run workload"
    assert not is_out_of_memory(RuntimeError(unsupported))


@pytest.mark.parametrize("spare", [2**20, 2**60])
def test_onednn_is_believed_only_where_memory_is_short(
    monkeypatch: pytest.MonkeyPatch, spare: int
) -> None:
    monkeypatch.setattr(memory, "SPARE", spare)
    short = spare == 2**60
    assert is_out_of_memory(ONEDNN_ERROR) == short

    @guarded
    def multiply(x: torch.Tensor) -> torch.Tensor:
        raise ONEDNN_ERROR

    with pytest.raises(TooLargeError if short else ConfigError) as caught:
        multiply(torch.ones(2, 3))
    assert is_out_of_memory(caught.value) == short
    assert ("could not create a primitive, with x of shape (2, 3)" in str(caught.value)) != short


def test_what_did_not_fit_is_free_before_the_next_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, earlier = Supervised.forward, list[weakref.ref[torch.Tensor]]()

    def forward(self: Supervised, batch: Batch) -> Loss:
        loss = real(self, batch)
        if len(batch) > 8 and self.training:
            assert [tensor() for tensor in earlier] == [None] * len(earlier)
            earlier.append(weakref.ref(loss.loss))
            problem = MemoryError()
            problem.itself = problem  # type: ignore[attr-defined]  # as a frame that names it
            raise problem
        return loss

    monkeypatch.setattr(Supervised, "forward", forward)
    train_run(tiny(*PLAIN, "schedule.epochs=1"), tmp_path / "run")
    assert len(earlier) == 2
