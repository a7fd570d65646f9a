"""Values of a constructor are checked where they enter: one line that names keyword and value."""

import functools
import inspect
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.small import CASES, IDS, small
from vitrail.errors import ConfigError
from vitrail.models.registry import get_model_class

CLASSES = sorted({name for name, _ in CASES})

# Keyword → values that no model may take.
REFUSED: dict[str, list[Any]] = {
    "depth": [-1, 0, 2.5, "3", True, None],
    "dim": [-8, 0, 48.0, "32", None],
    "heads": [-1, 0, 1.5, "2"],
    "mlp_dim": [0, -4, 2.0],
    "num_classes": [-1, 2.0, "5", None],
    "channels": [0, -3, 1.0, "3"],
    "image_size": [0, -32, 32.0, "32", (), None],
    "patch_size": [0, -8, 8.0, "8", None],
    "dropout": [-0.1, 1.0, "0.1", None],
    "emb_dropout": [-0.1, 1.0, "0.1", None],
    "drop_path": [-0.1, 1.0, "0.1", None],
    "pool": ["nothing", 1],
    "position": ["nothing", 1],
    "norm_eps": ["x", -1.0],
    "qk_norm": ["no"],
    "layer_scale": ["x"],
}


@functools.cache
def config_of(name: str) -> dict[str, Any]:
    """The keywords of a small model."""
    return small(name).config


def like(value: Any, regular: Any) -> Any:
    """The value for one stage, among regular ones, where a keyword has one per stage."""
    return (value, *regular[1:]) if isinstance(regular, tuple) else value


@pytest.mark.parametrize("name", CLASSES)
def test_a_wrong_value_is_refused_in_one_line(name: str) -> None:
    config = config_of(name)
    for keyword in REFUSED.keys() & config.keys():
        for value in REFUSED[keyword]:
            if value is None and config[keyword] is None:
                continue  # it has a meaning here
            whole = keyword in ("image_size", "patch_size")
            wrong = value if whole else like(value, config[keyword])
            with pytest.raises(ConfigError) as error:
                get_model_class(name)(**{**config, keyword: wrong})
            message = str(error.value)
            assert "\n" not in message
            assert keyword in message or (wrong == () and "size ()" in message)


@pytest.mark.parametrize("name", CLASSES)
def test_numpy_s_numbers_are_python_s(name: str) -> None:
    config = config_of(name)
    model = get_model_class(name)(**{**config, "num_classes": np.int64(3), "channels": np.int32(2)})
    assert type(model.config["num_classes"]) is int
    assert type(model.config["channels"]) is int
    assert model.eval().head(torch.zeros(1, model.pooled_dim)).shape[-1] == 3


@pytest.mark.parametrize(("name", "more"), CASES, ids=IDS)
def test_the_config_is_the_arguments(name: str, more: dict[str, Any]) -> None:
    model = small(name, **more)
    signature = inspect.signature(get_model_class(name))
    assert list(model.config) == list(signature.parameters)
    for keyword, value in more.items():
        assert model.config[keyword] == value


@pytest.mark.parametrize("name", CLASSES)
def test_a_subclass_may_pass_keywords_on(name: str) -> None:
    parent = get_model_class(name)

    class Mine(parent):  # type: ignore[misc, valid-type]
        def __init__(self, extra: int = 1, **keywords: Any) -> None:
            super().__init__(**keywords)
            self.extra = extra

    config = config_of(name)
    model = Mine(extra=2, **config)
    assert model.extra == 2
    assert model.config == {"extra": 2, **config}
    with pytest.raises(ConfigError, match="num_clases"):
        Mine(**{k: v for k, v in config.items() if k != "num_classes"}, num_clases=3)
