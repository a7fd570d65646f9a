"""Names of teachers and tokenizers in recipes."""

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
from vitrail.errors import ConfigError, LoadError
from vitrail.hub import model_folder
from vitrail.methods.distill import Distill
from vitrail.train.named_callables import teacher, tokenizer
from vitrail.train.trainer import train

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
    more = "data.views.mixup=0", "data.views.erasing=0", "optim.ema=0"
    train(tiny(*more), tmp_path / "teacher")
    name = f"method.teacher={tmp_path / 'teacher'}"
    train(tiny("method.name=distill", name, *more), tmp_path / "student")
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
        made = teacher(f"python:{source}:make", student)
        assert Distill(student, made)(images, torch.arange(2)).loss.isfinite()
    sys.modules.pop("own_teacher", None)


@pytest.mark.parametrize(
    ("function", "told"),
    [
        ("number", "gives int, which nobody can call"),
        ("broken", "cannot be run: ValueError: no such thing"),
        ("absent", "cannot be run: AttributeError"),
    ],
)
def test_functions_that_give_no_teacher(code: Path, function: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        teacher(f"python:{code}:{function}", small("ViT"))


def test_transformers_models(tmp_path: Path) -> None:
    config = transformers.ConvNextConfig(
        hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], num_labels=5, image_size=32
    )
    transformers.ConvNextForImageClassification(config).save_pretrained(tmp_path)
    processor = {"size": {"height": 32, "width": 32}, "image_mean": [0.1] * 3, "resample": 2}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor), "utf-8")
    made: Any = teacher(f"transformers:{tmp_path}", small("ViT"))
    assert made.preprocess.mean == (0.1, 0.1, 0.1)
    method = Distill(small("ViT"), made)
    assert method(torch.randn(2, 3, 32, 32), torch.arange(2)).loss.isfinite()
    with pytest.raises(ConfigError, match="teacher knows 5 classes and the student 7"):
        Distill(small("ViT", num_classes=7), made)


def test_timm_models(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def untrained(name: str, pretrained: bool) -> Any:
        assert pretrained
        return create(name, num_classes=5)

    monkeypatch.setattr(timm, "create_model", untrained)
    made: Any = teacher("timm:test_efficientnet", small("ViT"))
    assert made.preprocess.size == (160, 160)  # its own
    method = Distill(small("ViT"), made)
    assert method(torch.randn(2, 3, 32, 32), torch.arange(2)).loss.isfinite()


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("timm:no_such_model", LoadError, "timm:no_such_model cannot be had: Unknown model"),
        ("transformers:no-such/model", LoadError, "cannot be fetched from the Hub"),
        ("no-such-folder", LoadError, "no folder 'no-such-folder', and no Hub id"),
        ("python:make", ConfigError, "names no function"),
    ],
)
def test_names_that_lead_nowhere(name: str, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        teacher(name, small("ViT"))


@pytest.mark.parametrize("package", ["timm", "transformers"])
def test_a_package_that_is_missing(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=f"pip install {package}"):
        teacher(f"{package}:some/model", small("ViT"))


def test_classes_in_another_order(tmp_path: Path) -> None:
    model, student = small("ViT", num_classes=3), small("ViT", num_classes=3)
    model.labels, student.labels = ["b", "a", "c"], ["a", "b", "c"]
    model_folder.save(model, tmp_path / "model")
    with pytest.raises(ConfigError, match="same classes in another order, from 'b' on"):
        teacher(str(tmp_path / "model"), student)


def test_tokenizers(tmp_path: Path, code: Path) -> None:
    assert callable(tokenizer(f"python:{code}:make", small("ViT")))
    more = "method.name=simmim", "schedule.epochs=1", "data.limit=100", "optim.ema=0"
    train(tiny(*more, "data.views.mixup=0", "data.views.erasing=0"), tmp_path / "run")
    with pytest.raises(ConfigError, match="a run of SimMIM, which is no tokenizer: train one with"):
        tokenizer(str(tmp_path / "run"), small("ViT"))
    with pytest.raises(LoadError, match="no Hub id.*; for a tokenizer, train one with method.name"):
        tokenizer("no-such-run", small("ViT"))
    with pytest.raises(ConfigError, match="method.tokenizer is not given, and method needs it"):
        tiny("method.name=beit")
