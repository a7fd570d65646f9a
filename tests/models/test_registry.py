"""Models by name."""

import pkgutil
from pathlib import Path

import pytest

import vitrail
import vitrail.models
from vitrail.errors import ConfigError
from vitrail.models.base import Backbone
from vitrail.models.builtin_names import MODELS, builtin_names
from vitrail.models.registry import get_model_class, list_variants, new_model, variants


def test_every_file_with_variants_is_listed() -> None:
    folder = Path(vitrail.models.__path__[0])
    files = [info.name for info in pkgutil.iter_modules(vitrail.models.__path__)]
    with_variants = {f for f in files if "\nVARIANTS" in (folder / f"{f}.py").read_text("utf-8")}
    assert with_variants == set(MODELS.values())
    assert list(MODELS) == sorted(MODELS)


@pytest.mark.parametrize("name", MODELS)
def test_every_class_is_where_it_is_listed(name: str) -> None:
    model = get_model_class(name)
    assert model.__name__ == name
    assert issubclass(model, Backbone)
    assert model.__module__ == f"vitrail.models.{MODELS[name]}"


def test_wildcards() -> None:
    assert list_variants("deit_*_distilled_*") == [
        "deit_base_distilled_patch16_224",
        "deit_small_distilled_patch16_224",
        "deit_tiny_distilled_patch16_224",
    ]
    assert list_variants("vit_????_patch16_224") == ["vit_base_patch16_224", "vit_tiny_patch16_224"]
    assert list_variants("nothing*") == []
    assert list_variants() == sorted(variants())


def test_hints() -> None:
    with pytest.raises(ConfigError, match="no model 'vit_bse_patch16_224'. Did you mean 'vit_base"):
        vitrail.create_model("vit_bse_patch16_224")
    with pytest.raises(ConfigError, match="no model 'Vit'. It may mean ViT, vit_tiny"):
        vitrail.create_model("Vit")
    with pytest.raises(ConfigError, match="no model class 'Deit'. Did you mean 'DeiT'"):
        get_model_class("Deit")
    with pytest.raises(ConfigError, match="Published weights come by vitrail.create_model"):
        vitrail.ViT(pretrained=True)


@pytest.mark.parametrize(
    ("name", "meanings"),
    [
        ("vit_base", "vit_base_patch16_224, vit_base_patch32_224, vit_base_patch16_18x2_224 or 6"),
        ("swin_tiny", "swin_tiny_patch4_window7_224."),
        ("deit_tiny", "deit_tiny_patch16_224 or deit_tiny_distilled_patch16_224."),
    ],
)
def test_a_vague_name_lists_what_it_may_mean(name: str, meanings: str) -> None:
    with pytest.raises(ConfigError, match=f"no model '{name}'. It may mean {meanings}"):
        new_model(name)
    with pytest.raises(ConfigError, match="'in_chans'. Here it is called 'channels'"):
        vitrail.create_model("vit_tiny_patch16_224", in_chans=1)


def test_keywords_replace_the_variants_and_the_mode_is_training() -> None:
    model = vitrail.create_model("vit_tiny_patch16_224", depth=1, num_classes=3)
    assert (model.depth, model.num_classes, model.config["dim"]) == (1, 3, 192)
    assert model.training


def test_the_names_that_are_known_without_torch_are_those_of_all_variants() -> None:
    assert {*builtin_names()} == {n for n, v in variants().items() if v.model.__name__ in MODELS}
