"""Parts by name: registered once, by the user or by an installed package."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

import vitrail
from vitrail import registry
from vitrail.data.own_transforms import TRANSFORMS, register_transform
from vitrail.data.registry import open_dataset, register_dataset
from vitrail.errors import ConfigError, DataError
from vitrail.lens.explanations import register_explanation
from vitrail.methods.registry import create_method, register_method
from vitrail.models.registry import model_classes, register_model
from vitrail.train.optim import OPTIMIZERS, register_optimizer
from vitrail.train.sections import method_section

SIZES = {
    "image_size": 16, "patch_size": 8, "num_classes": 3, "dim": 8, "depth": 1, "heads": 1,
    "mlp_dim": 8,
}  # fmt: skip


def define(depth: int = 1) -> type[vitrail.ViT]:
    """A class that is defined again at each call, as by a cell of a notebook."""

    class Mine(vitrail.ViT):
        variants: ClassVar = {"mine_small": {**SIZES, "depth": depth}}

    return Mine


def test_a_model_is_built_and_listed_by_name() -> None:
    model = register_model(define())
    assert model_classes()["Mine"] is model
    assert vitrail.list_models("mine*") == ["mine_small"]
    assert type(vitrail.create_model("mine_small", dim=16)) is model
    assert vitrail.create_model("Mine", **SIZES).dim == 8
    with pytest.raises(ConfigError, match="no model 'mine_smal'. It may mean mine_small"):
        vitrail.create_model("mine_smal")


def test_the_same_definition_may_run_again() -> None:
    register_model(define())
    again = register_model(define(depth=2))
    assert model_classes()["Mine"] is again
    assert vitrail.create_model("mine_small").depth == 2
    for dim in (4, 8):  # settings are read off the newer class

        class Own(vitrail.methods.Method):
            def __init__(self, backbone: vitrail.Backbone, width: int = dim) -> None:
                super().__init__(backbone)

        register_method("own")(Own)
        assert method_section("own")().width == dim  # type: ignore[attr-defined]
        assert create_method("own", vitrail.ViT(**SIZES)).settings == {"width": dim}


def test_a_variant_that_cannot_be_built_is_not_registered() -> None:
    class Mine(vitrail.ViT):
        variants: ClassVar = {"mine_small": {"image_size": 16, "dpeth": 2}}

    with pytest.raises(ConfigError, match="Mine has no keyword 'dpeth'. Did you mean 'depth'"):
        register_model(Mine)
    assert "Mine" not in model_classes()


def other_model() -> None:
    @register_model
    class Mine(vitrail.ViT): ...


def builtin_variant() -> None:
    @register_model
    class Other(vitrail.ViT):
        variants: ClassVar = {"vit_tiny_patch16_224": SIZES}


def builtin_model() -> None:
    register_model(type("ViT", (vitrail.ViT,), {}))


def no_model() -> None:
    register_model(nn.Linear)  # type: ignore[type-var]


def no_class() -> None:
    register_model(vitrail.load)  # type: ignore[type-var]


def no_method() -> None:
    register_method("own")(vitrail.ViT)  # type: ignore[type-var]


def no_name() -> None:
    @register_transform  # type: ignore[arg-type]
    def noise(images: Tensor, generator: torch.Generator) -> Tensor: ...


def bad_name() -> None:
    register_dataset("my:kind")(lambda path, split: open_dataset("digits"))


def builtin_dataset() -> None:
    register_dataset("folder")(lambda path, split: open_dataset("digits"))


def wrong_arguments() -> None:
    register_dataset("mine")(lambda path: open_dataset("digits"))


def no_function() -> None:
    register_explanation("mine")(3)  # type: ignore[type-var]


def builtin_optimizer() -> None:
    register_optimizer("adamw")(torch.optim.SGD)


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (other_model, "there is a model 'Mine' already, of tests.test_registry: choose another"),
        (builtin_variant, "there is a model 'vit_tiny_patch16_224' already, ViT: choose another"),
        (builtin_model, "there is a model 'ViT' already, of Vitrail: choose another name"),
        (
            no_model,
            "Linear derives from Module, and a model derives from vitrail.models.base.Backb",
        ),
        (no_class, "load derives from no class, and a model derives from"),
        (no_method, "ViT derives from .*, and a method derives from vitrail.methods.base.Method"),
        (no_name, r"vitrail.data.register_transform needs a name: write @.*\('NAME'\)"),
        (bad_name, "'my:kind' is no name of a dataset: take letters, digits, - and _"),
        (builtin_dataset, "there is a dataset 'folder' already, of Vitrail"),
        (wrong_arguments, r"cannot be called as <lambda>\(path, split\): too many positional"),
        (no_function, r"vitrail.lens.register_explanation\('mine'\): 3 cannot be called"),
        (builtin_optimizer, "there is an? optimizer 'adamw' already, of Vitrail"),
    ],
)
def test_wrong_use_gets_one_line(define: Callable[[], None], message: str) -> None:
    first = register_model(type("Mine", (vitrail.ViT,), {}))
    with pytest.raises(ConfigError, match=message) as error:
        define()
    assert "\n" not in str(error.value)
    assert model_classes()["Mine"] is first


def test_settings_of_a_part_are_checked() -> None:
    @register_transform("noise")
    def noise(images: Tensor, generator: torch.Generator, strength: float = 0.1) -> Tensor:
        return images + strength

    transform = TRANSFORMS.partial("noise", {"strength": 1})
    assert transform(torch.zeros(1), torch.Generator()) == 1
    with pytest.raises(ConfigError, match="'noise' has no keyword 'stregth'. Did you mean 'stren"):
        TRANSFORMS.partial("noise", {"stregth": 1})
    with pytest.raises(ConfigError, match="'noise': strength='much' is not a number"):
        TRANSFORMS.partial("noise", {"strength": "much"})
    with pytest.raises(ConfigError, match="no optimizer 'adam'. Did you mean 'adamw'"):
        OPTIMIZERS.partial("adam", {})


def test_a_dataset_of_a_kind_has_a_path() -> None:
    from vitrail.data.pairs import names_dataset

    @register_dataset("few")
    def few(path: str, split: str) -> Any:
        return open_dataset("digits", split, limit=int(path)) if path else [1, 2]  # type: ignore

    assert len(open_dataset("few:20")) == 20
    assert names_dataset("few:20") and names_dataset("few") and not names_dataset("fewer:20")
    with pytest.raises(DataError, match="the dataset 'few' returns list, and not a vitrail.data.D"):
        open_dataset("few")
    with pytest.raises(DataError, match="no dataset 'fwe'. Did you mean 'few'"):
        open_dataset("fwe")


PACKAGE = """
import vitrail

class Mine(vitrail.ViT):
    pass

@vitrail.methods.register_method("own")
class Own(vitrail.methods.Supervised):
    pass
"""
ENTRIES = """
[vitrail.models]
Mine = own_parts:Mine
Gone = own_parts:Gone
ViT = own_parts:Mine
[vitrail.methods]
own = own_parts:Own
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An installed package with parts."""
    (tmp_path / "own_parts.py").write_text(PACKAGE)
    info = tmp_path / "own_parts-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-parts\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(tmp_path)
    registry.entry_points.cache_clear()
    yield tmp_path
    registry.entry_points.cache_clear()
    sys.modules.pop("own_parts", None)


def test_parts_of_an_installed_package_are_there(package: Path) -> None:
    assert "own" in vitrail.methods.list_methods()
    assert "own_parts" not in sys.modules, "listed without an import"
    assert vitrail.create_model("Mine", **SIZES).dim == 8
    assert type(create_method("own", vitrail.ViT(**SIZES))).__name__ == "Own"
    assert type(vitrail.create_model("ViT", **SIZES)) is vitrail.ViT, "Vitrail's come first"
    with pytest.raises(
        ConfigError, match="'Gone' of the package own-parts cannot be imported: Att"
    ):
        vitrail.create_model("Gone", **SIZES)
    with pytest.warns(UserWarning, match="'Gone' of the package own-parts cannot be imported"):
        assert "Mine" in model_classes()
    with pytest.raises(ConfigError, match="a method 'own' already, of the package own-parts"):
        registry.REGISTRIES["method"].own.clear()
        register_method("own")(vitrail.methods.MAE)


def test_a_model_of_an_installed_package_is_loaded(package: Path, tmp_path: Path) -> None:
    model = vitrail.create_model("Mine", **SIZES)
    vitrail.save(model, tmp_path / "model")
    registry.REGISTRIES["model"].own.clear()
    assert type(vitrail.load(tmp_path / "model")).__name__ == "Mine"


def test_two_packages_of_one_name_are_told_apart(package: Path) -> None:
    info = package / "second-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: second\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[vitrail.models]\nMine = second:Mine\n")
    with pytest.warns(
        UserWarning, match="'Mine' of the package .* is left out: the package .* off"
    ):
        registry.entry_points("vitrail.models")
