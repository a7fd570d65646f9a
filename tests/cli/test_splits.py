"""Folders of splits and classes at the command line: what is trained on, judged by and told."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Command
from vitrail.run_folder import RunFolder

SMALL = (
    "model.name=ViT", "train.threads=1", "schedule.epochs=2", "data.batch_size=4",
    "data.augment.crop=none",
    "model.options={image_size: 8, patch_size: 4, dim: 8, depth: 1, heads: 1, mlp_dim: 8}",
)  # fmt: skip


def folder(root: Path, classes: str, each: int = 6) -> None:
    for number, name in enumerate(classes.split()):
        (root / name).mkdir(parents=True)
        for i in range(each):
            noise = np.random.default_rng(7 * i + number).integers(0, 255, (10, 10, 3), np.uint8)
            Image.fromarray(noise).save(root / name / f"{i}.png")


@pytest.fixture
def run(vitrail: Command, tmp_path: Path) -> RunFolder:
    """A run on Training/, Val/ and TEST/, which have different numbers of images."""
    folder(tmp_path / "pets" / "Training", "cat dog", 6)
    folder(tmp_path / "pets" / "Val", "cat dog", 4)
    folder(tmp_path / "pets" / "TEST", "cat dog", 5)
    code, out, errors = vitrail("train", "folder:pets", *SMALL, "--out", "run")
    assert code == 0, errors
    assert "on folder:pets test (95 % interval: " in out
    return RunFolder(tmp_path / "run")


def test_validation_judges_epochs_and_the_test_comes_once(run: RunFolder) -> None:
    evaluation = run.evaluation
    assert evaluation["labels"] == ["cat", "dog"]
    assert evaluation["count"] == 10 and evaluation["val_count"] == 8
    assert evaluation["split"] == "folder:pets test"
    assert all("/TEST/" in entry["name"] for entry in evaluation["examples"])
    splits = [line["split"] for line in run.metrics]
    assert splits.count("val") == 2 and splits.count("test") == 1 and splits[-1] == "test"
    validation = [line for line in run.metrics if line["split"] == "val"]
    best = max(validation, key=lambda line: (line["top1"], -line["loss"]))
    assert evaluation["val_top1"] == pytest.approx(best["top1"])
    assert run.metrics[-1]["top1"] == evaluation["top1"]
    low, high = evaluation["top1_low"], evaluation["top1_high"]
    assert low < evaluation["top1"] < high or evaluation["top1"] in (0, 1)
    page = run.report_file.read_text()
    assert "accuracy on folder:pets test (95 % interval" in page
    assert "accuracy on validation images" in page
    source = run.settings["data"]["source"]
    assert source == f"folder:{run.path.parent / 'pets'}"  # absolute: it may be resumed anywhere
    assert set(run.settings["data"]["digests"]) == {"train", "val", "test"}


def test_eval_knows_every_split_and_matches_classes_by_name(
    run: RunFolder, vitrail: Command, tmp_path: Path
) -> None:
    for split, count in {"train": 12, "val": 8, "test": 10, "all": 30, "": 10}.items():
        code, out, _ = vitrail("eval", "run", "--json", *(["--split", split] if split else []))
        assert code == 0 and json.loads(out)["count"] == count
    folder(tmp_path / "new", "DOG Cat", 5)
    code, out, _ = vitrail("eval", "run", "--data", "folder:new")
    assert code == 0 and out.startswith("folder:new all, 10 images")
    assert "cat (" in out and "of 5; " in out
    _, out, _ = vitrail("eval", "run", "--data", "folder:pets/TEST", "--json")
    assert json.loads(out)["count"] == 10 and json.loads(out)["split"] == "all"
    folder(tmp_path / "one", "cat", 1)
    (tmp_path / "one" / "notes.txt").touch()
    code, out, errors = vitrail("eval", "run", "--data", "folder:one")
    assert code == 0 and "dog (0 of 0)" in out
    assert "folder:one has no image of the class dog." in errors
    assert "left aside: 1 .txt" in errors
    folder(tmp_path / "more", "cat owl", 1)
    code, _, errors = vitrail("eval", "run", "--data", "folder:more")
    assert code == 2 and "folder:more has unknown classes 'owl': remove their images" in errors
    assert "dog" in errors and len(errors) < 250


def test_changed_data_are_noticed(run: RunFolder, vitrail: Command, tmp_path: Path) -> None:
    folder(tmp_path / "extra", "cat", 1)
    (tmp_path / "extra" / "cat" / "0.png").rename(tmp_path / "pets" / "TEST" / "cat" / "x.png")
    code, out, errors = vitrail("eval", "run", "--json")
    assert code == 0 and json.loads(out)["count"] == 11
    assert "the test images are not those of the run: 10 then, 11 now." in errors
    code, _, errors = vitrail("train", "--out", "run", "--resume")
    assert code == 2 and "A resumed run keeps its data: restore them" in errors


def test_without_splits_images_are_held_out_of_training(vitrail: Command, tmp_path: Path) -> None:
    folder(tmp_path / "flat", "cat dog", 10)
    code, out, _ = vitrail("train", "folder:flat", *SMALL, "--out", "run")
    assert code == 0 and "on folder:flat validation (95 % interval" in out
    evaluation = RunFolder(tmp_path / "run").evaluation
    assert evaluation["count"] == 4 and "val_count" not in evaluation
    counts = {}
    for split in ("train", "val"):
        _, out, _ = vitrail("eval", "run", "--json", "--split", split)
        counts[split] = json.loads(out)["count"]
    assert counts == {"train": 16, "val": 4}
    code, _, errors = vitrail("train", "folder:flat", *SMALL, "data.validation=0", "--out", "no")
    assert code == 2 and "data.validation=0 leaves nothing to evaluate on" in errors
    assert not (tmp_path / "no").exists()


def test_folds_are_runs_of_their_own(vitrail: Command, tmp_path: Path) -> None:
    folder(tmp_path / "few", "cat dog", 6)
    command = ["train", "folder:few", *SMALL, "schedule.epochs=1", "--folds", "3", "--out", "cv"]
    code, out, errors = vitrail(*command)
    assert code == 0, errors
    assert out.splitlines()[0].split() == ["fold", "images", "accuracy", "95", "%", "interval"]
    assert out.splitlines()[4].split()[:2] == ["mean", "12"]
    figures = json.loads((tmp_path / "cv" / "folds.json").read_text())
    assert [fold["count"] for fold in figures["folds"]] == [4, 4, 4]
    assert figures["top1"] == pytest.approx(np.mean([f["top1"] for f in figures["folds"]]))
    _, out, _ = vitrail("eval", "cv/fold-2", "--json")
    assert json.loads(out)["top1"] == pytest.approx(figures["folds"][1]["top1"])
    names = {
        entry["name"]
        for number in (1, 2, 3)
        for entry in RunFolder(tmp_path / "cv" / f"fold-{number}").evaluation["examples"]
    }
    assert len(names) == 12  # each image is judged once
    code, _, errors = vitrail(*command)
    assert code == 2 and "cv is not empty: go on with the runs in it by --resume" in errors


def test_a_small_set_is_cross_validated_by_a_probe(vitrail: Command, tmp_path: Path) -> None:
    folder(tmp_path / "few", "cat dog", 6)
    assert vitrail("train", "folder:few", *SMALL, "--out", "run")[0] == 0
    probe = ["eval", "run", "--data", "folder:few", "--probe", "linear", "--folds", "3"]
    code, out, _ = vitrail(*probe, "--json")
    figures = json.loads(out)
    assert code == 0 and figures["count"] == 12 and len(figures["fold_top1"]) == 3
    assert figures["top1"] == pytest.approx(np.mean(figures["fold_top1"]), abs=1e-3)
    code, _, errors = vitrail("eval", "run", "--folds", "3")
    assert code == 2 and "--folds=3 is for probes: add --probe" in errors


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ("val/cat val/dog test/cat test/dog", "has no training split: it has 'val', 'test'"),
        ("train/cat train/dog test/cat test/owl", "the test images have unknown classes 'owl'"),
        ("cat", "holds only one class, 'cat': give images of two"),
        ("Training Testing", "x look like splits, and hold no folders of classes"),
    ],
)
def test_what_cannot_be_trained_on_is_told(
    vitrail: Command, tmp_path: Path, folders: str, message: str
) -> None:
    folder(tmp_path / "x", folders, 3)
    code, _, errors = vitrail("train", "folder:x", *SMALL, "--out", "run")
    assert code == 2 and message in errors and not (tmp_path / "run").exists()


def test_names_that_are_no_text(vitrail: Command, tmp_path: Path) -> None:
    folder(tmp_path / "x", "cat dog", 4)
    cat = tmp_path / "x" / "cat"
    (cat / "0.png").rename(cat / "caf\udce9.png")  # Latin-1
    (cat / "1.png").rename(cat / "猫.png")
    (tmp_path / "x" / "dog").rename(tmp_path / "x" / "dog\udcff")
    assert vitrail("train", "folder:x", *SMALL, "--out", "run")[0] == 0
    assert RunFolder(tmp_path / "run").evaluation["labels"] == ["cat", "dog\\xff"]
    code, out, _ = vitrail("eval", "run", "--split", "all", "--json")
    assert code == 0 and json.loads(out)["count"] == 8
