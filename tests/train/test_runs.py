"""`vitrail.fit` writes what `vitrail train` writes, from names, models and data in memory."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from torch.utils import data

import vitrail
from vitrail.cli.main import main
from vitrail.data.in_memory import InMemoryDataset
from vitrail.errors import DataError, VitrailError
from vitrail.run_folder import RunFolder
from vitrail.train.callback import Callback
from vitrail.train.runs import TrainingRun
from vitrail.train.trainer import Trainer

SMALL = {"patch_size": 4, "dim": 16, "depth": 2, "heads": 2, "mlp_dim": 16}
QUICK: dict[str, Any] = {
    "epochs": 2, "limit": 100, "batch_size": 50, "crop": "none", "threads": 1, "lr": 1e-2,
    "monitor": False,  # whose charts take longer than the training
}  # fmt: skip
NAMES = ("run.yaml", "metrics.jsonl", "evaluation.json", "model/model.safetensors")


def files(run: Path) -> dict[str, bytes]:
    """What must be the same to the byte."""
    return {name: (run / name).read_bytes() for name in NAMES}


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["vitrail", "train", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_writes_what_the_command_writes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = vitrail.fit(
        "ViT",
        data="digits",
        method="simmim",
        out="python",
        options=SMALL,
        **QUICK,
        mask_ratio=0.5,  # a setting of the method
    )
    command(
        monkeypatch,
        *("digits", "model.name=ViT", f"model.options={SMALL}", "--out", "command"),
        *("method.name=simmim", "method.mask_ratio=0.5", "schedule.epochs=2", "data.limit=100"),
        *("data.batch_size=50", "data.augment.crop=none", "train.threads=1", "optim.lr=1e-2"),
        "train.monitor=off",
    )
    assert files(root / "python") == files(root / "command")
    assert isinstance(run, TrainingRun)
    assert run.folder == Path("python")
    assert run.metrics["count"] == 355
    assert run.report.read_text("utf-8").startswith("<!doctype html>")
    assert run.model.image_size == (8, 8) and not run.model.training
    assert run.model is run.model


def test_sections_may_be_nested(root: Path) -> None:
    flat = vitrail.fit("ViT", data="digits", options=SMALL, out="flat", **QUICK)
    nested = vitrail.fit(
        {"name": "ViT", "options": SMALL},
        data={"source": "digits", "limit": 100, "batch_size": 50, "augment": {"crop": "none"}},
        method={"name": "supervised"},
        optim={"lr": 1e-2},
        schedule={"epochs": 2},
        train={"threads": 1, "monitor": False},
        out="nested",
    )
    assert files(flat.folder) == files(nested.folder)


def test_a_model_is_where_training_starts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = vitrail.ViT(8, num_classes=3, channels=1, **SMALL)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    first = vitrail.fit(model, data="digits", out="first", **QUICK)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])  # the model itself is left alone
    settings = yaml.safe_load((root / "first" / "run.yaml").read_text())
    assert settings["model"]["name"] == "ViT"
    initial = vitrail.load(RunFolder("first").initial_folder)
    assert initial.config == model.config
    assert all(torch.equal(t, before[n]) for n, t in initial.state_dict().items())
    trained = first.model.state_dict()
    change = (trained["blocks.0.mlp.fc1.weight"] - before["blocks.0.mlp.fc1.weight"]).abs().max()
    assert 0 < change < 0.1
    # The run's own settings give the same run.
    command(monkeypatch, "first/run.yaml", "--out", "again")
    assert files(root / "first") == files(root / "again")


def test_a_run_is_resumed_with_the_model_it_started_from(root: Path) -> None:
    class RaiseAtStep2(Callback):
        def before_step(self, trainer: Trainer) -> None:
            if trainer.step == 2:
                raise ZeroDivisionError

    model = vitrail.ViT(8, num_classes=3, channels=1, **SMALL)
    with pytest.raises(ZeroDivisionError):
        vitrail.fit(model, data="digits", out="run", callbacks=[RaiseAtStep2()], **QUICK)
    vitrail.fit(model, data="digits", out="run", resume=True, **QUICK)
    shutil.move("run", "resumed")
    vitrail.fit(model, data="digits", out="run", **QUICK)
    assert files(root / "run") == files(root / "resumed")


def test_a_run_goes_on_from_a_run(root: Path) -> None:
    first = vitrail.fit("ViT", data="digits", method="simmim", options=SMALL, out="a", **QUICK)
    second = vitrail.fit(first, data="digits", method="linear_probe", out="b", **QUICK)
    third = vitrail.fit(Path("a"), data="digits", method="linear_probe", out="c", **QUICK)
    assert files(second.folder) != files(first.folder)
    assert files(second.folder) == files(third.folder)
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]) == (not name.startswith("head"))


class Pairs(data.Dataset[tuple[Any, int]]):
    """A map-style dataset of PyTorch."""

    def __init__(self, images: list[Any], targets: list[int]) -> None:
        self.images, self.labels = images, targets

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.images[index], self.labels[index]


def pictures(folder: Path) -> Iterator[tuple[Path, str]]:
    """Dark cats and bright dogs."""
    for number in range(10):
        for label, gray in (("cat", 30), ("dog", 220)):
            path = folder / f"{label}-{number}.png"
            Image.new("RGB", (8, 8), (gray + number,) * 3).save(path)
            yield path, label


def test_data_in_memory(root: Path) -> None:
    """The same pictures as paths, as a torch Dataset, as one of transformers' and of Vitrail's."""
    import datasets

    pairs = list(pictures(root))
    images = [Image.open(path).copy() for path, _ in pairs]
    targets = [["cat", "dog"].index(label) for _, label in pairs]
    columns = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    rows = datasets.Dataset.from_dict(
        {"image": images, "label": targets}, datasets.Features(columns)
    )
    settings = {**QUICK, "limit": None, "epochs": 8, "batch_size": 8}
    weights = {}
    sources: dict[str, Any] = {
        "paths": pairs, "torch": Pairs(images, targets), "hub": rows,
        "both": (pairs, pairs), "splits": {"train": pairs, "test": pairs},
    }  # fmt: skip
    for name, source in sources.items():
        run = vitrail.fit("ViT", data=source, options=SMALL, out=name, **settings)
        assert run.metrics["top1"] == 1
        assert run.metrics["count"] == (20 if name in ("both", "splits") else 4)
        split = "test" if name in ("both", "splits") else "validation"
        assert run.details["split"] == f"memory {split}"
        weights[name] = files(run.folder)["model/model.safetensors"]
    assert weights["torch"] == weights["hub"] == weights["paths"]
    # A fifth of "train" is held out of all.
    assert weights["both"] == weights["splits"] == weights["paths"]
    assert run.model.labels == ["cat", "dog"]
    with pytest.raises(VitrailError, match="learned from objects in memory: give data="):
        vitrail.evaluate(run)
    assert vitrail.evaluate(run, pairs).top1 == 1
    assert run.model.preprocess.mean == (0.485, 0.456, 0.406)


def test_a_dataset_of_vitrail(root: Path) -> None:
    targets = torch.arange(40) % 2
    pixels = (targets[:, None, None, None] * 200).expand(40, 1, 8, 8).to(torch.uint8)
    dataset = InMemoryDataset(pixels, targets, ["dark", "bright"])
    run = vitrail.fit("ViT", data=dataset, options=SMALL, out="run", **{**QUICK, "batch_size": 8})
    assert run.metrics["count"] == 8
    assert run.model.labels == ["dark", "bright"]


class Stop(Callback):
    """Ends training once the accuracy is above chance."""

    def log(self, trainer: Trainer, split: str, values: dict[str, float]) -> None:
        if split == "val" and values["top1"] > 0.05:
            trainer.end()


def test_a_callback_ends_training(root: Path) -> None:
    settings = {**QUICK, "epochs": 50, "save_every": 1000}
    run = vitrail.fit(
        "ViT", data="digits", options=SMALL, out="run", callbacks=[Stop()], **settings
    )
    steps = [line["step"] for line in RunFolder(run.folder).metrics if line["split"] == "val"]
    assert steps == [2]
    assert [path.name for path in RunFolder(run.folder).checkpoints] == ["step-00000002"]
    assert run.metrics["count"] == 355


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no such data": ({"data": "folder:nowhere"}, "no folder 'nowhere'"),
    "no such name": ({"data": "digitz"}, "no dataset 'digitz'. Did you mean 'digits'"),
    "data of another kind": ({"data": 3}, "data is of int: give a name such as 'folder:PHOTOS'"),
    "no data": ({"data": []}, "data is empty: give a name"),
    "no pairs": ({"data": ["a.jpg", "b.jpg"]}, "data holds str at 0: give a name"),
    "four parts": ({"data": ([], [], [], [])}, "data is a tuple of 4"),
    "no such picture": (
        {"data": [("a.jpg", "cat"), ("b.jpg", "dog")] * 5},
        r"10 of 10 images cannot be read: .*or set data.bad_images=skip",
    ),
    "no such method": ({"method": "mea"}, "no method 'mea'.* Did you mean 'mae'"),
    "no such model": ({"model": "Vit"}, "no model 'Vit'.* It may mean ViT, "),
    "model of another kind": ({"model": torch.nn.Identity()}, "model is of Identity: give a name"),
    "no such run": ({"model": Path("nowhere")}, "no folder 'nowhere'"),
    "callback": ({"callbacks": [print]}, "callbacks holds builtin_function_or_method, which is no"),
    "one callback": ({"callbacks": Stop()}, "callbacks is of Stop: give a list of callbacks"),
    "callback class": ({"callbacks": [Stop]}, "callbacks holds Stop, .* derive it, and call the"),
    "unknown keyword": ({"epoch": 3}, "no setting 'epoch'. Did you mean 'epochs'"),
    "two sections": (
        {"blur": 0.1},
        "'blur' is a setting of data.augment and of data.crops: write augment={'blur': ...} or "
        "crops={'blur': ...}",
    ),
    "twice": ({"schedule": {"epochs": 3}}, "'epochs' is given twice, as 3 and as 2"),
    "no section": ({"train": 3}, "train=3 is no mapping of settings: write train={...}"),
    "wrong value": ({"lr": "fast"}, "optim.lr='fast': .*number"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_writes_nothing(root: Path, case: str) -> None:
    changes, message = BAD[case]
    arguments = {"model": "ViT", "data": "digits", "out": "run", **QUICK, **changes}
    if isinstance(arguments["model"], str):
        arguments["options"] = SMALL
    with pytest.raises(VitrailError) as caught:
        vitrail.fit(**arguments)
    text = str(caught.value)
    assert "\n" not in text
    assert message in text or re.search(message, text), text
    assert not list(root.iterdir())


def test_a_model_need_not_be_named(root: Path) -> None:
    with pytest.raises(DataError, match="absent"):
        vitrail.fit(data="folder:absent", out=root / "none")


def test_a_folder_with_a_run_is_left_alone(root: Path) -> None:
    run = vitrail.fit("ViT", data="digits", options=SMALL, out="run", **QUICK)
    before = files(run.folder)
    with pytest.raises(VitrailError, match="run already holds a run: .* choose another folder"):
        vitrail.fit("ViT", data="digits", options=SMALL, out="run", **QUICK)
    assert files(run.folder) == before


def test_frozen_parameters_are_no_setting(root: Path) -> None:
    model = vitrail.ViT(8, num_classes=3, channels=1, **SMALL)
    model.blocks[0].requires_grad_(False)
    with pytest.raises(VitrailError, match=r"blocks.0.*takes no gradients, which a run does not"):
        vitrail.fit(model, data="digits", out="run", **QUICK)
    model.requires_grad_(True)
    patterns = {"backbone.blocks.0.*": {"lr_scale": 0}}  # the cure that the message names
    run = vitrail.fit(model, data="digits", out="run", per_module=patterns, **QUICK)
    for name, tensor in run.model.blocks.state_dict().items():
        assert torch.equal(tensor, model.blocks.state_dict()[name]) == name.startswith("0.")
