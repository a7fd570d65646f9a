"""Batches of training and evaluation: their size, their order, and what they may not be."""

import pytest
import torch

from tests.models.small import small
from tests.train.test_methods import CROPS, DINO, of
from tests.train.tiny import tiny
from vitrail.errors import ConfigError
from vitrail.methods.base import Method
from vitrail.methods.clip import CLIP
from vitrail.methods.dino import DINO as DINOMethod
from vitrail.methods.supervised import Supervised
from vitrail.run_folder import RunFolder
from vitrail.train import stream_factory
from vitrail.train.config import RunConfig
from vitrail.train.data_factory import open_datasets
from vitrail.train.evaluator import Evaluator
from vitrail.train.factory import build_trainer
from vitrail.train.stream_factory import build_evaluator, check_batches
from vitrail.train.trainer import Trainer


def built(config: RunConfig) -> tuple[Trainer, Evaluator]:
    return build_trainer(config, RunFolder("unused"), open_datasets(config))


def test_a_contrastive_validation_loss_is_of_batches_like_those_of_training() -> None:
    """A batch of one class, or a larger one, has a larger loss at the same weights."""
    trainer, evaluator = built(of("clip", "optim.ema=0", "data.batch_size=16"))
    assert isinstance(trainer.method, CLIP)
    batches = list(evaluator.loss_stream.epoch(0, 0, "cpu"))
    assert {len(batch) for batch in batches} == {16}  # the incomplete one is left out
    assert all((batch["indices"].diff() < 0).any() for batch in batches)  # not in order
    again = list(evaluator.loss_stream.epoch(0, 0, "cpu"))
    assert all(torch.equal(a["indices"], b["indices"]) for a, b in zip(batches, again, strict=True))
    method = trainer.method.eval()
    expected = torch.stack([method(batch).loss for batch in batches]).mean()
    assert evaluator.validation_loss(method) == pytest.approx(expected.item(), rel=1e-5)
    indices = torch.cat([batch["indices"] for batch in evaluator.stream.epoch(0, 0, "cpu")])
    assert torch.equal(indices, torch.arange(285))  # figures are of all, in order


@pytest.mark.parametrize("name", ["mae", "dvae"])
def test_other_validation_losses_are_of_all_images(name: str) -> None:
    _, evaluator = built(of(name, "optim.ema=0"))
    assert evaluator.loss_stream is evaluator.stream


def test_one_pair_has_no_contrastive_loss() -> None:
    with pytest.raises(ConfigError, match="data.batch_size=1 is too small for CLIP, .*use 2 or"):
        built(of("clip", "optim.ema=0", "data.batch_size=1"))
    trainer, evaluator = built(of("clip", "optim.ema=0", "data.batch_size=2"))
    alone = evaluator.stream.loader.dataset.subset([0])
    other = build_evaluator(of("clip"), trainer.method, alone, alone)
    assert other.validation_loss(trainer.method) is None


@pytest.mark.parametrize("name", ["LeViT", "CvT", "XCiT"])
def test_one_image_has_no_statistics_for_batch_norms(name: str) -> None:
    method = Supervised(small(name))
    with pytest.raises(ConfigError, match="data.batch_size=1 leaves 1 image per process, .*use 2"):
        check_batches(method, 1)
    with pytest.raises(ConfigError, match="data.batch_size=4 leaves 1 image per process, .*use 8"):
        check_batches(method, 4, processes=4)
    check_batches(method, 2)
    method.backbone.requires_grad_(False)  # batch norms that stay still read no statistics
    check_batches(method, 1)


@pytest.mark.parametrize(
    "method", [Supervised(small("ViT")), DINOMethod(small("LeViT"), out_dim=8, head_dims=(8, 4))]
)
def test_one_image_is_enough_for_others(method: Method) -> None:
    check_batches(method, 1)  # several crops of an image have statistics


def test_local_crops_that_are_no_patches_name_their_setting() -> None:
    crops = "data.crops={local: 2, local_size: 3}"
    with pytest.raises(ConfigError, match=r"^data\.crops\.local_size=3: .*does not divide"):
        built(tiny(DINO, CROPS[0], crops, "optim.ema=0"))
    trainer, _ = built(tiny(DINO, CROPS[0], crops.replace("3", "4"), "optim.ema=0"))
    assert next(trainer.stream.epoch(0, 0, "cpu")).crops[2].shape[-2:] == (4, 4)


def test_each_process_has_as_many_samples_of_a_contrastive_validation_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The validation set of 285 images is less than a batch, and the processes gather its rows."""
    for rank in range(2):
        monkeypatch.setattr(stream_factory, "process_shard", lambda rank=rank: (rank, 2))
        _trainer, evaluator = built(of("clip", "optim.ema=0", "data.batch_size=300"))
        batches = evaluator.loss_stream.epoch(0, 0, "cpu")
        assert [len(batch) for batch in batches] == [142]


@pytest.mark.parametrize(
    ("size", "processes", "cure"),
    [(6, 4, "use 4 or 8"), (3, 4, "use 4"), (128, 3, "use 126 or 129")],
)
def test_a_batch_that_processes_do_not_divide_is_refused(
    size: int, processes: int, cure: str
) -> None:
    method = Supervised(small("ViT"))
    problem = f"data.batch_size={size} is not divided evenly by {processes} processes: {cure}"
    with pytest.raises(ConfigError, match=problem):
        check_batches(method, size, processes)
    for word in cure.replace(" or", "").split()[1:]:
        check_batches(method, int(word), processes)
