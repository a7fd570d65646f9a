"""Files of the user's own: they run when they are named, and by nothing else."""

import json
import sys
from pathlib import Path

import pytest
import torch

import vitrail
from vitrail import plugins
from vitrail.errors import ConfigError, LoadError
from vitrail.methods.registry import list_methods
from vitrail.models.registry import model_classes
from vitrail.plugins import load_plugin, require_plugins
from vitrail.registry import REGISTRIES

SIZES = {
    "image_size": 16, "patch_size": 8, "num_classes": 3, "dim": 8, "depth": 1, "heads": 1,
    "mlp_dim": 8,
}  # fmt: skip
MODEL = """
import pathlib
import vitrail
from vitrail.layers.mixers import register_mixer

pathlib.Path("ran").touch()  # shows that the file has run

@vitrail.register_model
class Mine(vitrail.ViT):
    answer = 42

@register_mixer("copy")
class Copy(vitrail.layers.Mlp):
    def __init__(self, dim):
        super().__init__(dim, dim)
"""
METHOD = """
import vitrail

@vitrail.methods.register_method("own")
class Own(vitrail.methods.MAE):
    pass
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with two plug-ins; what they register is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plugins, "PLUGINS", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "mine.py").write_text(MODEL)
    (tmp_path / "own.py").write_text(METHOD)
    return tmp_path


def forget() -> None:
    """As in another process, in which no plug-in has run."""
    for registry in REGISTRIES.values():
        registry.own.clear()
    plugins.PLUGINS.clear()
    Path("ran").unlink(missing_ok=True)


def test_a_file_registers_its_parts() -> None:
    plugin = load_plugin("mine.py")
    assert plugin.parts == (("model", "Mine"), ("mixer", "copy"))
    assert REGISTRIES["model"].source("Mine") == "mine.py"
    assert REGISTRIES["model"].source("ViT") == ""
    assert model_classes()["Mine"] is plugin.module.Mine  # type: ignore[attr-defined]
    import mine  # type: ignore[import-not-found]

    assert mine is plugin.module, "an import finds the same module"


def test_a_file_runs_once_and_again_when_it_changes(folder: Path) -> None:
    first = load_plugin("mine.py")
    assert load_plugin(folder / "mine.py") is first
    Path("mine.py").write_text(MODEL.replace("42", "43").replace('"copy"', '"other"'))
    second = load_plugin("mine.py")
    assert model_classes()["Mine"].answer == 43  # type: ignore[attr-defined]
    assert second.parts == (("model", "Mine"), ("mixer", "other"))
    assert "copy" not in REGISTRIES["mixer"], "what the file registers no more is gone"


def test_two_files_of_one_name_are_two_modules(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "mine.py").write_text(METHOD)
    (folder / "json.py").write_text("import vitrail\n")
    assert load_plugin("mine.py").module is not load_plugin("deep/mine.py").module
    assert load_plugin("json.py").module.__name__ != "json"
    assert json.loads("1") == 1
    Path("deep/mine.py").write_text(MODEL)
    with pytest.raises(ConfigError, match=r"deep/mine.py, line 8: there is a model 'Mine' already"):
        load_plugin("deep/mine.py")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import vitrail\n\nx = unknown\n", r"^bad.py, line 3: NameError: name 'unknown' is not"),
        ("def f(:\n", r"^bad.py, line 1: SyntaxError: invalid syntax"),
        ("import no_such_package\n", r"^bad.py, line 1: ModuleNotFoundError: No module named 'no_"),
        (MODEL + "\n1 / 0\n", r"^bad.py, line 17: ZeroDivisionError: division by zero\.$"),
        (MODEL.replace("Mine", "ViT"), r"^bad.py, line 8: there is a model 'ViT' already, of Vit"),
        ("raise ValueError", r"^bad.py, line 1: ValueError: no reason given"),
        ("import helper\n", r"^bad.py, line 1: KeyError: 'a'"),
    ],
)
def test_a_file_that_fails_is_named_with_its_line(text: str, message: str) -> None:
    Path("bad.py").write_text(text)
    Path("helper.py").write_text("\n\n{}['a']\n")
    with pytest.raises(ConfigError, match=message) as error:
        load_plugin("bad.py")
    assert "\n" not in str(error.value)
    assert "Mine" not in model_classes(), "nothing of a file that fails stays"
    assert "bad" not in sys.modules


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("gone.py", "no file 'gone.py': a plug-in is a .py file, or a module's name"),
        ("mine.txt", r"the plug-in mine.txt cannot be imported: ModuleNotFoundError"),
        ("./folder", r"'./folder' is neither a .py file nor the name of a module"),
        (
            "no_such_module",
            "the plug-in no_such_module cannot be imported: ModuleNotFoundError: No",
        ),
    ],
)
def test_what_is_no_plug_in(source: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_plugin(source)


def test_a_module_is_imported_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "kit").mkdir()
    (folder / "kit" / "__init__.py").touch()
    (folder / "kit" / "methods.py").write_text(METHOD)
    monkeypatch.syspath_prepend(folder)
    for _time in range(2):
        assert load_plugin("kit.methods").parts == (("method", "own"),)
    assert REGISTRIES["method"].source("own") == "kit.methods"
    require_plugins(["kit.methods"])


def test_a_saved_model_names_its_file_and_loading_never_runs_it() -> None:
    load_plugin("mine.py")
    model = vitrail.create_model("Mine", **SIZES).eval()
    vitrail.save(model, "model")
    assert json.loads(Path("model/config.json").read_text())["plugins"] == ["mine.py"]
    forget()
    with pytest.raises(
        LoadError,
        match=r"no model class 'Mine'\. It comes from mine.py: .*load_plugin\('mine.py'\)",
    ):
        vitrail.load("model")
    assert not Path("ran").exists()
    load_plugin("mine.py")
    loaded = vitrail.load("model")
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(loaded(images), model(images))
    assert loaded.answer == 42  # type: ignore[attr-defined]


def test_a_model_with_a_mixer_of_ones_own_names_its_file() -> None:
    load_plugin("mine.py")
    model = vitrail.EfficientViT(**SIZES, mixer="copy")  # type: ignore[arg-type]
    vitrail.save(model, "model")
    forget()
    with pytest.raises(LoadError, match=r"mixer='copy' is not one of .* It comes from mine.py"):
        vitrail.load("model")
    load_plugin("mine.py")
    assert vitrail.load("model").config["mixer"] == "copy"


def test_a_method_names_its_file() -> None:
    from vitrail.hub.method_folder import save_method

    load_plugin("own.py")
    method = vitrail.methods.create_method("own", vitrail.ViT(**SIZES), decoder_depth=1)
    vitrail.save(method.backbone, "run/model")
    save_method(method, "own", Path("run/method"))
    assert type(vitrail.load_method("run")).__name__ == "Own"
    forget()
    assert "own" not in list_methods()
    with pytest.raises(LoadError, match=r"no method 'own'\. It comes from own.py"):
        vitrail.load_method("run")


def test_an_unregistered_class_is_not_saved() -> None:
    class Mine(vitrail.ViT): ...

    with pytest.raises(
        ConfigError, match="Mine is no registered class, .*put @vitrail.register_mo"
    ):
        vitrail.save(Mine(**SIZES), "model")
    assert not Path("model").exists()


def test_plug_ins_that_settings_name_must_have_run() -> None:
    with pytest.raises(ConfigError, match="plugins: mine.py has not run, and settings run no code"):
        require_plugins(["mine.py"])
    load_plugin("mine.py")
    require_plugins(["mine.py", "elsewhere/mine.py"])
    require_plugins(None)
