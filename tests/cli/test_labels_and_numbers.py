"""Several labels per image, numbers and weights, from a table to a prediction."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tests.cli.conftest import Command
from vitrail.data.registry import open_dataset
from vitrail.errors import ConfigError
from vitrail.hub.load import load
from vitrail.lens.report_page import write_report
from vitrail.run_folder import RunFolder
from vitrail.train.config import make_config
from vitrail.train.data_factory import open_datasets
from vitrail.train.evaluation import evaluate
from vitrail.train.factory import build_trainer, train_run
from vitrail.train.label_scores import LabelEvaluation
from vitrail.train.number_scores import NumberEvaluation
from vitrail.train.prediction import predict
from vitrail.train.runs import fit

OPTIONS = {"image_size": 8, "patch_size": 4, "dim": 16, "depth": 1, "heads": 2, "mlp_dim": 32}
SETTINGS: dict[str, Any] = {
    "model": {"name": "ViT", "options": OPTIONS},
    "optim": {"lr": 0.01, "weight_decay": 0.0},
    "schedule": {"epochs": 30},
}
AUGMENT = {"crop": "none", "flip": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images whose red and green are independent labels, and whose blue is a number."""
    path = tmp_path_factory.mktemp("colors")
    generator = torch.Generator().manual_seed(0)
    rows = []
    for number in range(60):
        red, green = torch.rand(2, generator=generator) < torch.tensor([0.5, 0.3])
        blue = int(torch.randint(0, 256, (), generator=generator))
        Image.new("RGB", (8, 8), (255 * int(red), 255 * int(green), blue)).save(
            path / f"{number}.png"
        )
        tags = ";".join(name for name, has in (("red", red), ("green", green)) if has)
        split = "train" if number < 40 else "val" if number < 50 else "test"
        rows.append((f"{number}.png", tags, int(red), int(green), 100 + blue / 8, split))
    for name, columns in {"tags": (0, 1, 5), "flags": (0, 2, 3, 5), "blue": (0, 4, 5)}.items():
        with open(path / f"{name}.csv", "w", newline="") as file:
            header = ("file", "tags", "red", "green", "target", "split")
            writer = csv.writer(file)
            writer.writerows([[row[c] for c in columns] for row in (header, *rows)])
    return path


def trained(source: str, out: Path, **more: Any) -> dict[str, Any]:
    data = {"source": source, "batch_size": 10, "augment": AUGMENT}
    return train_run({**SETTINGS, "data": data, **more}, out)


def test_several_labels_from_a_table_to_a_prediction(folder: Path, tmp_path: Path) -> None:
    source, run = f"csv:{folder / 'tags.csv'}", RunFolder(tmp_path / "run")
    figures = trained(source, run.path)
    assert run.settings["method"]["name"] == "multi_label"  # which the table asks for
    assert figures["map"] > 0.95 and figures["micro_f1"] > 0.9
    assert "top1" not in figures and figures["count"] == 10
    model = load(run.path)
    assert model.labels == ["green", "red"] and model.outputs.target == "labels"
    assert len(model.outputs.thresholds) == 2 and model.outputs.thresholds != (0.5, 0.5)
    lines = run.classes_file.read_text().splitlines()
    assert lines[0].startswith("label,images,average_precision,threshold")
    assert lines[1].startswith("green,")
    columns = evaluate(run.path, f"csv:{folder / 'flags.csv'}?labels=red,green", split="test")
    assert isinstance(columns, LabelEvaluation)
    assert columns.figures["map"] == pytest.approx(figures["map"])
    assert columns.figures["micro_f1"] == pytest.approx(figures["micro_f1"])
    red, black = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    red[0] = 255
    predictions = predict(run.path, [red, black])
    assert [list(prediction.classes) for prediction in predictions] == [["red"], []]
    assert "mean average precision" in write_report(run).read_text("utf-8")
    with pytest.raises(ConfigError, match="predicts several labels per image"):
        evaluate(run.path, f"csv:{folder / 'flags.csv'}?label=red", split="test")


def test_numbers_from_a_table_to_a_prediction(folder: Path, tmp_path: Path) -> None:
    source, run = f"csv:{folder / 'blue.csv'}", RunFolder(tmp_path / "run")
    figures = trained(source, run.path)
    assert run.settings["method"]["name"] == "regression"
    assert figures["r2"] > 0.9 and figures["mae"] < 3 and "top1" not in figures
    model = load(run.path)
    result = evaluate(model, source, split="test")
    assert isinstance(result, NumberEvaluation)
    assert result.figures["mae"] == pytest.approx(figures["mae"], rel=1e-4)
    # The head of the saved model gives numbers in their units.
    blue = torch.zeros(3, 8, 8, dtype=torch.uint8)
    blue[2] = 128
    with torch.no_grad():
        raw = model(model.preprocess.normalise(blue[None]))
    assert float(raw) == pytest.approx(116, abs=5)
    [prediction] = predict(run.path, blue)
    assert prediction.classes == {"target": pytest.approx(float(raw))}
    assert "predicted" in write_report(run).read_text("utf-8")
    validation = [line for line in run.metrics if line["split"] == "val"]
    assert validation[-1]["mae"] < validation[0]["mae"]


def test_commands_print_labels_and_numbers(folder: Path, tmp_path: Path, vitrail: Command) -> None:
    image, short = str(folder / "0.png"), {"schedule": {"epochs": 1}}
    trained(f"csv:{folder / 'tags.csv'}", tmp_path / "tags", **short)
    trained(f"csv:{folder / 'blue.csv'}", tmp_path / "blue", **short)
    _, output, _ = vitrail("predict", image, "--model", "blue")
    assert output.startswith(f"{image}: target 1")
    vitrail("predict", image, "--model", "blue", "--out", "numbers.csv")
    assert Path("numbers.csv").read_text().splitlines()[0] == "image,target"
    _, output, _ = vitrail("eval", "blue", "--json")
    assert json.loads(output)["classes"][0]["label"] == "target"
    _, output, _ = vitrail("eval", "tags")
    assert "micro_f1" in output and "green: images" in output
    _, output, _ = vitrail("predict", image, "--model", "tags", "--json")
    assert "labels" in json.loads(output)
    code, _, errors = vitrail("predict", image, "--model", "tags", "--truth")
    assert code == 2 and "one class per image" in errors


def test_a_method_that_does_not_suit_names_the_one_that_does(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="several labels per image.*method.name=multi_label"):
        trained(f"csv:{folder / 'tags.csv'}", tmp_path / "a", method={"name": "supervised"})
    with pytest.raises(ConfigError, match="one class per image.*method.name=supervised"):
        trained(
            f"csv:{folder / 'flags.csv'}?label=red", tmp_path / "b", method={"name": "regression"}
        )
    with pytest.raises(ConfigError, match="of which method 'clip' makes no captions"):
        clip = {"name": "clip", "tokenizer": "train:80"}
        trained(f"csv:{folder / 'tags.csv'}", tmp_path / "d", method=clip)
    with pytest.raises(ConfigError, match="data.sampler='balanced' needs one class"):
        data = {"source": f"csv:{folder / 'tags.csv'}", "sampler": "balanced"}
        train_run({**SETTINGS, "data": data}, tmp_path / "c")


def test_weights_of_images_reach_the_loss(folder: Path, tmp_path: Path) -> None:
    """Images of weight 0 have wrong labels, and do no harm."""
    lines = (folder / "flags.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    table = ["file,label,split,weight"]
    for number, (file, red, _green, split) in enumerate(rows):
        is_wrong = split == "train" and number % 3 > 0
        table.append(f"{file},{1 - int(red) if is_wrong else red},{split},{0 if is_wrong else 1}")
    (folder / "weighted.csv").write_text("\n".join(table))
    source = f"csv:{folder / 'weighted.csv'}"
    assert open_dataset(source).weights is not None
    last = {"train": {"keep": "last"}, "schedule": {"epochs": 10}}
    assert trained(source, tmp_path / "weighted", **last)["top1"] > 0.9
    assert trained(f"{source}?weight=", tmp_path / "plain", **last)["top1"] < 0.5


def test_weights_reach_a_probe(folder: Path, tmp_path: Path) -> None:
    """Features that are computed once keep the weights of their images."""
    rows = [f"{n}.png,{n % 2},{'train' if n < 40 else 'test'},{1 + n}" for n in range(60)]
    (folder / "probe.csv").write_text("\n".join(["file,label,split,weight", *rows]))
    config = make_config({
        **SETTINGS,
        "data": {"source": f"csv:{folder / 'probe.csv'}", "batch_size": 10},
        "method": {"name": "linear_probe"},
    })  # fmt: skip
    trainer, _ = build_trainer(config, RunFolder(tmp_path / "run"), open_datasets(config))
    for batch in trainer.stream.epoch(0, 0, "cpu"):
        assert batch.weights is not None and batch.indices is not None
        names = [open_datasets(config).train.name(i) for i in batch.indices.tolist()]
        assert batch.weights.tolist() == [1 + int(Path(name).stem) for name in names]


@pytest.mark.parametrize(("table", "key"), [("tags", "map"), ("blue", "mae")])
def test_folds_compare_several_labels_and_numbers(
    vitrail: Command, folder: Path, tmp_path: Path, table: str, key: str
) -> None:
    settings = [f"model.options.{name}={value}" for name, value in OPTIONS.items()]
    command = ["train", f"csv:{folder / f'{table}.csv'}", "model.name=ViT", *settings]
    more = ["data.augment.crop=none", "schedule.epochs=1", "--folds", "2", "--out", "cv"]
    code, out, errors = vitrail(*command, *more)
    assert code == 0, errors
    figures = json.loads((tmp_path / "cv" / "folds.json").read_text())
    parts = [fold[key] for fold in figures["folds"]]
    assert figures[key] == pytest.approx(sum(parts) / 2)
    assert figures["std"] == pytest.approx(abs(parts[0] - parts[1]) / 2**0.5)
    assert "top1" not in figures
    assert f"{figures[key]:.4g}  (standard deviation {figures['std']:.4g})" in out


def test_a_report_says_on_what_thresholds_were_chosen(folder: Path, tmp_path: Path) -> None:
    rows = (folder / "tags.csv").read_text().splitlines()
    kept = [row for row in rows if not row.endswith(",test")]
    table = folder / "without_test.csv"
    table.write_text("\n".join(kept))
    for name, file in (("tested", folder / "tags.csv"), ("validated", table)):
        trained(f"csv:{file}", tmp_path / name, schedule={"epochs": 1})
    tested, validated = (write_report(tmp_path / n).read_text() for n in ("tested", "validated"))
    assert "by which nothing was chosen" in tested and "would be too good" not in tested
    assert "they are at thresholds of 0.5" in validated and "A test split would tell" in validated


def test_python_lists_hold_several_labels(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = []
    for number in range(40):
        red, green = number % 2, number // 2 % 2
        image = torch.randint(0, 50, (3, 8, 8), dtype=torch.uint8, generator=generator)
        image[0] += 200 * red
        image[1] += 200 * green
        pairs.append((image, [name for name, has in (("red", red), ("green", green)) if has]))
    run = fit("ViT", data=(pairs, pairs[:10]), method="multi_label", options=OPTIONS, epochs=1,
              crop="none", batch_size=8, out=tmp_path / "run")  # fmt: skip
    assert 0 < run.metrics["map"] <= 1
    assert run.model.labels == ["green", "red"]
    assert run.model.outputs.target == "labels"
