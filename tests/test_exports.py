"""The front door: public names are found by `dir`, `help` and `import *`, and come when used."""

import importlib
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import vitrail
from vitrail.exports import read_origins
from vitrail.methods.registry import METHODS
from vitrail.models.registry import MODELS

PACKAGES = (
    "contract",
    "data",
    "deploy",
    "explorer",
    "hub",
    "layers",
    "lens",
    "methods",
    "models",
    "ops",
    "train",
)


def run(program: str) -> str:
    """What a fresh interpreter prints."""
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_every_room_that_users_import_is_a_package_of_the_front_door() -> None:
    folders = {path.parent.name for path in Path(vitrail.__path__[0]).glob("*/__init__.py")}
    # Of these two, one is the command line, and the other is imported by lessons only.
    assert folders - {"cli", "learn"} == set(PACKAGES)
    assert set(PACKAGES) <= set(dir(vitrail))


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_is_there(package: str) -> None:
    module = getattr(vitrail, package)
    assert dir(module) == sorted(module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)
    for name in module.__all__:
        value = getattr(module, name)
        assert value.__name__.rpartition(".")[2] == name
        origin, _ = read_origins(f"vitrail.{package}")[name]
        assert value is getattr(importlib.import_module(origin), name)


def test_models_and_methods_are_all_there() -> None:
    assert set(MODELS) <= set(dir(vitrail.models))
    models = {name for name, (module, _) in vitrail.origins.items() if module == "vitrail.models"}
    assert models == {*MODELS, "Backbone", "Features"}
    assert set(METHODS.values()) <= set(dir(vitrail.methods))


def test_a_submodule_never_hides_a_function_of_its_name() -> None:
    clashes = [
        f"{package}.{name}"
        for package in PACKAGES
        for name, (module, _) in read_origins(f"vitrail.{package}").items()
        if module == f"vitrail.{package}.{name}"
    ]
    assert {"lens.record", "hub.load", "deploy.fuse"} <= set(clashes)
    program = f"""
import importlib, sys, vitrail
for clash in {clashes!r}:
    package, name = clash.split(".")
    if "{{order}}" == "first":
        file = importlib.import_module("vitrail." + clash)
    function = getattr(getattr(vitrail, package), name)
    file = importlib.import_module("vitrail." + clash)
    assert file is sys.modules["vitrail." + clash] and file.__file__.endswith(name + ".py"), clash
    assert function is getattr(file, name) is getattr(getattr(vitrail, package), name), clash
from vitrail.lens.record import record, recording
from vitrail.lens import record as again
assert record is again is vitrail.record is vitrail.lens.record
from vitrail.lens import plots
assert plots is vitrail.lens.plots, "other files are attributes once imported, as always"
print("good")
"""
    for order in ("first", "second"):
        assert run(program.replace("{order}", order)) == "good\n"


def test_names_come_when_they_are_used() -> None:
    program = """
import sys, vitrail
assert "torch" not in sys.modules
vitrail.models.Swin
assert "vitrail.models.swin" in sys.modules and "vitrail.models.pvt" not in sys.modules
assert "vitrail.train" not in sys.modules
assert vitrail.Swin is vitrail.models.Swin
names = {}
exec("from vitrail import *", names)
assert set(vitrail.__all__) <= names.keys()
print("good")
"""
    assert run(program) == "good\n"


def test_a_name_that_does_not_exist() -> None:
    with pytest.raises(AttributeError, match=r"module 'vitrail.lens' has no attribute 'recrod'"):
        vitrail.lens.recrod
    assert not hasattr(vitrail.models, "ResNet")


def test_a_package_that_is_not_installed_is_named() -> None:
    program = """
import sys, vitrail
sys.modules["matplotlib"] = None
try:
    vitrail.lens.attention_figure
except ModuleNotFoundError as error:
    print(error)
"""
    cure = "vitrail.lens.attention_figure needs matplotlib: pip install matplotlib\n"
    assert run(program) == cure


def test_help_begins_with_what_there_is() -> None:
    lines = pydoc.plain(pydoc.render_doc(vitrail)).splitlines()
    first_page = "\n".join(lines[:60])
    for name in ("create_model", "fit", "record", "vitrail.deploy", "vitrail.layers"):
        assert name in first_page
    assert max(map(len, lines[:60])) <= 110
    assert "class MAE(" in pydoc.plain(pydoc.render_doc(vitrail.methods))
