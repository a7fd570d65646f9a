"""`vitrail check` and `--plugin`: from a file to a table, and to a run that notes its file."""

import re
import sys
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Command, picture
from vitrail import plugins
from vitrail.cli.check import HELP
from vitrail.registry import REGISTRIES

GOOD = """
import torch
import vitrail

@vitrail.register_model
class Mine(vitrail.ViT):
    variants = {
        "mine_tiny": {
            "image_size": 8, "patch_size": 4, "num_classes": 2, "dim": 8, "depth": 1, "heads": 1,
            "mlp_dim": 8,
        },
    }

@vitrail.methods.register_method("own")
class Own(vitrail.methods.Supervised):
    pass

@vitrail.data.register_dataset("few")
def few(path, split):
    return vitrail.data.open_dataset("digits", split, limit=40)

@vitrail.data.register_transform("darken")
def darken(images, generator, factor: float = 0.5):
    return images * factor

@vitrail.train.register_optimizer("momentum")
def sgd(groups, momentum: float = 0.9):
    return torch.optim.SGD(groups, momentum=momentum)

@vitrail.lens.register_explanation("energy")
def energy(model, images):
    features = model.features(images)
    return features.patches.square().mean(-1).unflatten(1, features.grid)
"""


@pytest.fixture(autouse=True)
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of parts, in the folder of the commands."""
    monkeypatch.setattr(plugins, "PLUGINS", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "mine.py").write_text(GOOD)
    return tmp_path


def forget() -> None:
    """As in another process."""
    for registry in REGISTRIES.values():
        registry.own.clear()
    plugins.PLUGINS.clear()


def test_a_file_that_keeps_the_contract(vitrail: Command) -> None:
    code, out, _ = vitrail("check", "mine.py")
    assert code == 0, out
    for part in (
        "model Mine",
        "method own",
        "dataset few",
        "transform darken",
        "optimizer momentum",
    ):
        assert part in out
    assert "✗" not in out
    assert out.endswith("All checks passed.\n")


def test_what_fails_is_said_with_its_cure(vitrail: Command, mine: Path) -> None:
    code = "pooled = super().pool(features); return pooled - pooled.mean(0)"
    (mine / "mine.py").write_text(
        GOOD.replace("    variants", f"    def pool(self, features): {code}\n    variants")
    )
    code, out, _ = vitrail("check", "mine.py")
    assert code == 1
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "✗ samples of a batch are independent" in lines
    assert "✓ the constructor is the config" in lines
    pattern = (
        r"samples of a batch are independent: logits of an image, when another one changes, differ "
        r"by [\d.]+\. Cure: do not mix along the first axis"
    )
    assert any(re.match(pattern, line) for line in lines)
    assert re.search(r"\d checks failed.", lines[-1])


def test_names_of_vitrail_are_checked_too(vitrail: Command) -> None:
    assert vitrail("check", "attention")[0] == 0
    code, out, _ = vitrail("check", "vit_tiny_patch16_224")
    assert code == 0 and out.startswith("    model vit_tiny_patch16_224")


@pytest.mark.parametrize(
    ("what", "text", "message"),
    [
        ("gone.py", None, "no file 'gone.py': a plug-in is a .py file"),
        ("empty.py", "", "empty.py registers nothing: put @vitrail.register_model above its class"),
        ("bad.py", "\nx = y\n", "bad.py, line 2: NameError: name 'y' is not defined."),
        ("mae_", None, "nothing is called 'mae_'. Did you mean 'mae'"),
        (
            "wrong.py",
            "import vitrail\n@vitrail.register_model\nclass ViT(vitrail.ViT): ...\n",
            "wrong.py, line 2: there is a model 'ViT' already, of Vitrail: choose another name.",
        ),
    ],
)
def test_bad_input_gets_one_line(
    what: str, text: str | None, message: str, vitrail: Command, mine: Path
) -> None:
    if text is not None:
        (mine / what).write_text(text)
    code, out, errors = vitrail("check", what)
    assert (code, out) == (2, "")
    assert errors.startswith(f"error: {message}") and errors.count("\n") == 1, errors


RUN = (
    "train", "few", "model.name=mine_tiny", "method.name=own", "data.transforms.darken.factor=0.9",
    "optim.optimizer=momentum", "optim.optimizer_options.momentum=0.5", "schedule.epochs=2",
    "data.batch_size=8", "data.augment={crop: none, flip: 0}", "train.save_every=3",
)  # fmt: skip


def test_a_run_of_own_parts_notes_their_file(vitrail: Command, mine: Path) -> None:
    """And nothing runs that file but `--plugin`."""
    code, _, errors = vitrail(*RUN, "--out", "run")
    assert code == 2 and "no model 'mine_tiny'" in errors
    code, out, errors = vitrail(*RUN, "--out", "run", "--plugin", "mine.py")
    assert code == 0, errors
    assert "model:  run/model" in out
    settings = yaml.safe_load((mine / "run" / "run.yaml").read_text())
    assert settings["train"]["plugins"] == ["mine.py"]
    assert "--plugin mine.py" in (mine / "run" / "command.txt").read_text()
    picture(size=(8, 8)).save(mine / "a.png")
    commands = (
        ("eval", "run"),
        ("predict", "a.png", "-m", "run"),
        ("info", "run"),
        ("look", "a.png", "-m", "run", "--explain", "energy"),
        ("train", "--out", "run", "--resume"),
        ("train", "run/run.yaml", "--out", "again"),
    )
    for command in commands:
        forget()
        code, _, errors = vitrail(*command)
        assert code == 2, command
        assert re.search(r"mine.py.*--plugin mine.py runs it", errors) and errors.count("\n") == 1
        code, _, errors = vitrail(*command, "--plugin", "mine.py")
        assert code == 0, (command, errors)
    assert (mine / "look.png").stat().st_size > 1000
    again = (mine / "again" / "model" / "model.safetensors").read_bytes()
    assert again == (mine / "run" / "model" / "model.safetensors").read_bytes()


def test_lists_show_own_parts_and_their_file(vitrail: Command) -> None:
    code, out, _ = vitrail("models", "mine*", "--plugin", "mine.py")
    assert code == 0
    assert out.splitlines()[0].startswith("Mine  mine.py, sequence")
    code, out, _ = vitrail("methods", "--plugin", "mine.py")
    assert "\nown  every model\n" in out and "\n  mine.py\n" in out


def test_every_command_has_the_option(vitrail: Command) -> None:
    from vitrail.cli.main import COMMANDS

    for command in set(COMMANDS) - {"learn"}:  # which runs no code but the learner's
        assert "--plugin" in vitrail(command, "--help")[1], command
    assert "contract" in HELP
