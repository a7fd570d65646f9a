"""Flat keywords go to their sections, and editors see every one of them."""

import typing

import pytest

from vitrail.errors import ConfigError
from vitrail.train.config import RunConfig
from vitrail.train.keywords import Settings, nest, setting_keys


def test_editors_see_every_setting_and_no_other() -> None:
    """But those of a method, which depend on its name, and those that two sections have."""
    settings = set(RunConfig.model_fields) - {"model", "method", "data"}
    for name, keys in setting_keys("supervised").items():
        group = keys[0][:-1]
        if len(keys) == 1 and group[0] != "method" and group != ("data", "crops"):
            settings.add(name)
    assert set(typing.get_type_hints(Settings)) == settings - {"source"}


def test_a_key_is_the_one_of_the_command_line() -> None:
    for name, keys in setting_keys("mae").items():
        for section, *rest in keys:
            assert section in RunConfig.model_fields
            assert rest[-1] == name
    assert setting_keys("mae")["mask_ratio"] == [("method", "mask_ratio")]
    assert setting_keys("mae")["mixup"] == [("data", "augment", "mixup")]


def test_nested_and_flat_are_merged() -> None:
    values = nest(
        {"method": {"name": "mae"}, "data": {"source": "digits", "augment": {"flip": 0}}},
        {"mixup": 0.2, "augment": {"crop": "none"}, "optim": {"lr": 1e-3}, "ema": 0.9},
    )
    assert values["data"] == {
        "source": "digits", "augment": {"flip": 0, "crop": "none", "mixup": 0.2},
    }  # fmt: skip
    assert values["optim"] == {"lr": 1e-3, "ema": 0.9}


def test_the_callers_mappings_stay_as_they_are() -> None:
    optim = {"lr": 1e-3}
    nest({"method": {"name": "mae"}}, {"optim": optim, "ema": 0.9})
    assert optim == {"lr": 1e-3}


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"augment": 3, "mixup": 0.2}, "'mixup' is given twice: by augment=3 too"),
        ({"lr": 1, "optim": {"lr": 2}}, "'lr' is given twice, as 2 and as 1"),
        ({"learning_rat": 1}, "no setting 'learning_rat'"),
        ({"mask_ratio": 0.5}, "no setting 'mask_ratio'. It is one of .*method='mae'"),
        ({"dim": 32}, r"no setting 'dim'.* go into options=\{...\}"),
    ],
)
def test_what_cannot_be_sorted(keywords: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        nest({"method": {"name": "supervised"}}, keywords)
