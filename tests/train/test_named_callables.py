"""Teachers and tokenizers that recipes name."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
import yaml

from tests.models.small import small
from tests.train.tiny import tiny
from vitrail.data.registry import open_dataset
from vitrail.errors import ConfigError, LoadError
from vitrail.methods.base import Batch
from vitrail.methods.distill import Distill
from vitrail.plugins import load_plugin
from vitrail.train.config import make_config, read_config
from vitrail.train.factory import train_run
from vitrail.train.named_callables import open_image_tokenizer, open_teacher, resolve_object

CODE = """
import torch

def make():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))

def number():
    return 3

def broken():
    raise ValueError("no such thing")
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    file = tmp_path / "own_teacher.py"
    file.write_text(CODE, "utf-8")
    return file


def test_a_run_teaches_another(tmp_path: Path) -> None:
    more = "data.augment.mixup=0", "data.augment.erasing=0", "optim.ema=0"
    train_run(tiny(*more), tmp_path / "teacher")
    name = f"method.teacher={tmp_path / 'teacher'}"
    train_run(tiny("method.name=distill", name, *more), tmp_path / "student")
    lines = (tmp_path / "student" / "metrics.jsonl").read_text("utf-8").splitlines()
    last = [line for line in map(json.loads, lines) if "agreement" in str(line)][-1]
    assert "distillation" in str(last)
    run = yaml.safe_load((tmp_path / "student" / "run.yaml").read_text("utf-8"))
    assert run["method"]["teacher"] == str(tmp_path / "teacher")


def test_functions_of_files_and_modules(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = small("ViT", image_size=8, patch_size=4, channels=1, num_classes=10)
    images = torch.randn(2, 1, 8, 8)
    for source in (str(code), "own_teacher"):
        monkeypatch.syspath_prepend(str(code.parent))
        loaded = open_teacher(f"python:{source}:make")
        assert Distill(student, loaded)(
            Batch(images=images, labels=torch.arange(2))
        ).loss.isfinite()
    sys.modules.pop("own_teacher", None)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("number", "returns int, which is not callable"),
        ("broken", "cannot be run: ValueError: no such thing"),
        ("absent", "cannot be run: AttributeError"),
    ],
)
def test_functions_that_give_no_teacher(code: Path, function: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_teacher(f"python:{code}:{function}")


def test_transformers_models(tmp_path: Path) -> None:
    config = transformers.ConvNextConfig(
        hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], num_labels=5, image_size=32
    )
    transformers.ConvNextForImageClassification(config).save_pretrained(tmp_path)
    processor = {"size": {"height": 32, "width": 32}, "image_mean": [0.1] * 3, "resample": 2}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor), "utf-8")
    loaded: Any = open_teacher(f"transformers:{tmp_path}")
    assert loaded.preprocess.mean == (0.1, 0.1, 0.1)
    method = Distill(small("ViT"), loaded)
    assert method(Batch(images=torch.randn(2, 3, 32, 32), labels=torch.arange(2))).loss.isfinite()
    with pytest.raises(ConfigError, match="teacher has 5 classes and the student 7"):
        Distill(small("ViT", num_classes=7), loaded)


def test_timm_models(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def untrained(name: str, pretrained: bool) -> Any:
        assert pretrained
        return create(name, num_classes=5)

    monkeypatch.setattr(timm, "create_model", untrained)
    loaded: Any = open_teacher("timm:test_efficientnet")
    assert loaded.preprocess.size == (160, 160)  # its own
    method = Distill(small("ViT"), loaded)
    assert method(Batch(images=torch.randn(2, 3, 32, 32), labels=torch.arange(2))).loss.isfinite()


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        (
            "timm:no_such_model",
            LoadError,
            "timm:no_such_model cannot be loaded: RuntimeError: Unknown model",
        ),
        ("transformers:no-such/model", LoadError, "cannot be downloaded from the Hub"),
        ("no-such-folder", LoadError, "no folder .no-such-folder., and a Hub id"),
        ("python:make", ConfigError, "names no function"),
    ],
)
def test_names_that_lead_nowhere(name: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        open_teacher(name)


@pytest.mark.parametrize("package", ["timm", "transformers"])
def test_a_package_that_is_missing(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=f"pip install {package}"):
        open_teacher(f"{package}:some/model")


def test_tokenizers(tmp_path: Path, code: Path) -> None:
    assert callable(open_image_tokenizer(f"python:{code}:make"))
    more = "method.name=simmim", "schedule.epochs=1", "data.limit=100", "optim.ema=0"
    train_run(tiny(*more, "data.augment.mixup=0", "data.augment.erasing=0"), tmp_path / "run")
    with pytest.raises(ConfigError, match="a run of SimMIM, which is no tokenizer: train one with"):
        open_image_tokenizer(str(tmp_path / "run"))
    with pytest.raises(LoadError, match="a Hub id.*; for a tokenizer, train one with method.name"):
        open_image_tokenizer("no-such-run")
    with pytest.raises(ConfigError, match="method.tokenizer is not given, and method needs it"):
        tiny("method.name=beit")


def test_code_runs_only_where_the_user_names_it(
    tmp_path: Path, code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrail.plugins.TRUSTED", set())
    digits = open_dataset("digits", limit=20)
    ran = tmp_path / "ran"
    code.write_text(f"import pathlib\npathlib.Path({str(ran)!r}).touch()\n{CODE}", "utf-8")
    name = f"python:{code}:make"
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"method": {"name": "distill", "teacher": name}}), "utf-8")
    read_config(recipe)
    for source in (name, "python:os:abort", "python:own_teacher:make"):
        with pytest.raises(ConfigError, match=r"settings in a file run no code.*load_plugin\('"):
            resolve_object("teacher", source, digits, {})
    assert not ran.exists()
    monkeypatch.chdir(tmp_path)
    read_config(recipe, ["method.teacher=python:own_teacher.py:make"])  # as a command has it
    assert callable(resolve_object("teacher", name, digits, {}))
    assert ran.exists()


def test_a_call_and_a_plugin_name_code(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits, name = open_dataset("digits", limit=20), f"python:{code}:make"
    for trust_code in (
        lambda: make_config({"method": {"name": "distill", "teacher": name}}),
        lambda: load_plugin(code),
    ):
        monkeypatch.setattr("vitrail.plugins.TRUSTED", set())
        trust_code()
        assert callable(resolve_object("teacher", name, digits, {}))


@pytest.mark.parametrize("name", ["hf-hub:some/model", "local-dir:/tmp/model"])
def test_timm_reads_no_pickles_of_anyone(name: str) -> None:
    with pytest.raises(ConfigError, match="no name of timm.list_models"):
        open_teacher(f"timm:{name}")
