"""Videos, volumes and signals through training, evaluation, prediction, look and report."""

import contextlib
import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import vitrail
from vitrail.cli.main import main
from vitrail.errors import ConfigError, DataError
from vitrail.preprocess import Sampling
from vitrail.run_folder import RunFolder
from vitrail.train.config import make_config
from vitrail.train.runs import TrainingRun, train_and_report

SMALL = {"dim": 16, "depth": 1, "heads": 2, "mlp_dim": 16}
TRAIN = {
    "optim": {"lr": 0.01},
    "schedule": {"epochs": 12},
    "train": {"seed": 0, "threads": 1},
}


def frames(folder: Path, rises: bool, seed: int) -> None:
    """A video of twelve frames that grow brighter, or darker."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(seed).integers(0, 40, (12, 10, 14, 3))
    for number in range(12):
        level = 16 * (number if rises else 11 - number)
        Image.fromarray((noise[number] + level).astype(np.uint8)).save(folder / f"{number}.png")


def volume(file: Path, top: bool, seed: int) -> None:
    """A volume of 16 bits that is denser at its top, or at its bottom."""
    file.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).normal(-200, 100, (12, 9, 9))
    values[6:] += 900 * top
    values[:6] += 900 * (not top)
    np.save(file, values.astype(np.int16))


def signal(file: Path, fast: bool, seed: int) -> None:
    """Two channels of a sine, fast or slow, of different lengths."""
    file.parent.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    time = np.arange(40 + seed % 7)
    wave = 30 * np.sin(time * (1.5 if fast else 0.4) + 6 * generator.random())
    table = np.stack([wave + generator.normal(0, 1, len(time)), wave], 1) + 500
    np.savetxt(file, table, delimiter=",", header="a,b", comments="")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("recordings")
    for number in range(16):
        split, first = ("train" if number < 12 else "test"), number % 2 == 0
        frames(root / "videos" / split / "ab"[first] / f"clip {number}", first, number)
        volume(root / "volumes" / split / "ab"[first] / f"{number}.npy", first, number)
        signal(root / "signals" / split / "ab"[first] / f"{number}.csv", first, number)
    return {kind: root / kind for kind in ("videos", "volumes", "signals")}


CASES: dict[str, dict[str, Any]] = {
    "videos": {
        "model": {
            "name": "ViViT",
            "options": {**SMALL, "image_size": [4, 8, 8], "patch_size": [2, 4, 4]},
        },
        "data": {"batch_size": 4, "augment": {"flip": 0.5}},
    },
    "volumes": {
        "model": {
            "name": "SimpleViT",
            "options": {**SMALL, "image_size": [8, 8, 8], "patch_size": 4, "dim": 18},
        },
        "data": {"batch_size": 4, "augment": {"crop": "none"},
                 "sampling": {"window": [-200, 800]}},
    },
    "signals": {
        "model": {"name": "ViT", "options": {**SMALL, "image_size": [32], "patch_size": 4}},
        "data": {"batch_size": 4, "augment": {"crop": "none"},
                 "sampling": {"stride": 1, "parts": 3}},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def runs(
    folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, TrainingRun]:
    out = tmp_path_factory.mktemp("runs")
    trained = {}
    for kind, case in CASES.items():
        data = {**case["data"], "source": f"{kind}:{folders[kind]}", "validation": 0}
        config = make_config({**TRAIN, **case, "data": data})
        trained[kind] = train_and_report(config, out / kind)
    return trained


@pytest.mark.parametrize("kind", CASES)
class TestEveryKind:
    def test_it_learns_and_is_evaluated_alike(
        self, kind: str, folders: dict[str, Path], runs: dict[str, TrainingRun]
    ) -> None:
        figures = RunFolder(runs[kind].folder).evaluation
        assert figures["top1"] == 1.0 and figures["count"] == 4
        again = vitrail.evaluate(runs[kind], f"{kind}:{folders[kind]}", split="test")
        assert again.top1 == 1.0 and again.loss == pytest.approx(figures["loss"], abs=1e-5)

    def test_files_are_predicted_as_in_evaluation(
        self, kind: str, folders: dict[str, Path], runs: dict[str, TrainingRun]
    ) -> None:
        predictions = vitrail.predict(runs[kind], folders[kind] / "test")
        assert len(predictions) == 4
        assert all(p.label == Path(p.image).parent.name for p in predictions)

    def test_the_report_and_look_draw_it(
        self,
        kind: str,
        folders: dict[str, Path],
        runs: dict[str, TrainingRun],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        page = runs[kind].report.read_text("utf-8")
        assert page.count("rollout, all layers") >= 4
        assert "cannot be drawn" not in page
        path = next((folders[kind] / "test" / "a").iterdir())
        model, out = str(runs[kind].folder), str(tmp_path / "look.png")
        monkeypatch.setattr("sys.argv", ["vitrail", "look", str(path), "-m", model, "-o", out])
        with contextlib.suppress(SystemExit):
            main()
        with Image.open(out) as picture:
            assert picture.width > 1000


def test_the_model_keeps_how_parts_are_sampled(runs: dict[str, TrainingRun]) -> None:
    assert vitrail.load(runs["signals"].folder).preprocess.sampling == Sampling(stride=1, parts=3)
    preprocess = vitrail.load(runs["volumes"].folder).preprocess
    assert preprocess.sampling.window == (-200, 800)
    assert 0 < preprocess.mean[0] < 600  # in the units of the files, after the window


def test_parts_are_averaged(folders: dict[str, Path], runs: dict[str, TrainingRun]) -> None:
    model = vitrail.load(runs["signals"].folder)
    path = folders["signals"] / "test" / "b" / "12.csv"
    [prediction] = vitrail.predict(model, path)
    model.preprocess = dataclasses.replace(model.preprocess, sampling=Sampling(stride=1, parts=3))
    crop = model.preprocess.crop(path)
    with torch.inference_mode():
        logits = model(model.preprocess.normalise(torch.stack(crop.split(32, dim=1))))
    expected = logits.mean(0).softmax(0)
    assert prediction.classes["a"] == pytest.approx(expected[0].item(), abs=1e-5)
    features = vitrail.features(model, path).features
    assert features.shape == (1, 16)


def test_sampling_is_for_recordings(tmp_path: Path) -> None:
    options = {**SMALL, "patch_size": 4}
    config = make_config(
        {
            "model": {"name": "ViT", "options": options},
            "data": {"source": "digits", "sampling": {"stride": 2}},
        }
    )
    with pytest.raises(ConfigError, match="data.sampling is for videos:, volumes: and signals:"):
        train_and_report(config, tmp_path / "run")


def test_damaged_recordings_are_named_or_left_out(folders: dict[str, Path], tmp_path: Path) -> None:
    root = tmp_path / "signals"
    shutil.copytree(folders["signals"], root)
    (root / "train" / "b" / "0.csv").write_text("time,volt\n1,2\n3\n")
    case = {**TRAIN, **CASES["signals"], "schedule": {"epochs": 1}}
    data = {**case["data"], "source": f"signals:{root}", "validation": 0}
    with pytest.raises(DataError, match=r"1 of 12 .* cannot be read: .*0.csv \(damaged"):
        train_and_report(make_config({**case, "data": data}), tmp_path / "no")
    run = train_and_report(
        make_config({**case, "data": {**data, "bad_images": "skip"}}), tmp_path / "run"
    )
    assert [Path(name).name for name, _ in RunFolder(run.folder).bad_images] == ["0.csv"]
