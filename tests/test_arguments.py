"""Arguments are checked against annotations, in one line, before a function runs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vitrail.arguments import Axes, checked
from vitrail.errors import ConfigError
from vitrail.values import PositiveInt, check_value


@checked
def crop(
    size: PositiveInt = 1,
    names: Sequence[str] = (),
    more: Iterable[int] = (),
    model: nn.Module | str = "",
    folder: Path = Path(),
    image: Annotated[Tensor, Axes(3)] | None = None,
    mode: Literal["same", "valid"] = "same",
    options: Mapping[str, float] | None = None,
    function: Callable[[], None] | None = None,
    anything: Any = None,
) -> dict[str, Any]:
    return dict(locals())


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"size": 0}, "crop: size=0 is not a whole number of at least 1."),
        ({"size": int}, "crop: size=<class 'int'> is not a whole number of at least 1."),
        ({"size": np.zeros(2)}, "crop: size=array([0., 0.]) is not a whole number of at least 1."),
        ({"names": "cat"}, "crop: names='cat' is not a list with each entry a string."),
        ({"names": ["cat", 3]}, "crop: names=['cat', 3] is not a list with each entry a string."),
        ({"names": iter("ab")}, "is not a list with each entry a string."),
        ({"more": "12"}, "crop: more='12' is not a list with each entry a whole number."),
        ({"more": [1.5]}, "crop: more=[1.5] is not a list with each entry a whole number."),
        ({"model": 3}, "crop: model=3 is not a Module, or a string."),
        ({"model": nn.Linear}, "is not a Module, or a string."),
        ({"folder": 3}, "crop: folder=3 is not a path."),
        ({"folder": "a\0b"}, "crop: folder='a\\x00b' is not a path. It has a zero byte."),
        (
            {"image": torch.zeros(2, 2)},
            "crop: image=<Tensor (2, 2)> is not a Tensor of 3 axes with real values, none of them "
            "empty, or None.",
        ),
        (
            {"image": torch.zeros(3, 0, 2)},
            "is not a Tensor of 3 axes with real values, none of them empty",
        ),
        ({"image": np.zeros((3, 2, 2))}, "crop: image=<ndarray (3, 2, 2)> is not a Tensor of"),
        ({"mode": "vald"}, "is not one of 'same', 'valid'. Did you mean 'valid'?"),
        ({"options": [1]}, "crop: options=[1] is not a mapping, or None."),
        ({"options": {"a": "b"}}, "crop: options={'a': 'b'} is not a mapping, or None."),
        ({"function": 3}, "crop: function=3 is not a function, or None."),
        ({"sice": 3}, "crop has no keyword 'sice'. Did you mean 'size'? It takes: size, names"),
    ],
)
def test_what_an_annotation_does_not_allow_is_one_line(
    keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as problem:
        crop(**keywords)
    assert message in str(problem.value)
    assert str(problem.value).count("\n") == 0


def test_values_arrive_as_the_annotation_says() -> None:
    image = torch.zeros(3, 2, 2)
    values = crop(np.int64(8), np.array(["cat"]), (n for n in (1, 2)), folder="中文", image=image)
    assert type(values["size"]) is int
    assert values["names"] == ["cat"]
    assert list(values["more"]) == [1, 2]
    assert values["folder"] == Path("中文")
    assert values["image"] is image
    wrapped = torch.compile(nn.Linear(2, 2))
    assert crop(model=wrapped)["model"] is wrapped


def test_a_missing_argument_is_one_line() -> None:
    @checked
    def scale(factor: float) -> float:
        return factor

    with pytest.raises(ConfigError, match=r"scale: missing a required argument: 'factor'\. help"):
        scale()  # type: ignore[call-arg]


def test_a_constructor_is_named_by_its_class() -> None:
    class Scale:
        @checked
        def __init__(self, factor: float) -> None:
            self.factor = factor

    assert Scale(np.float32(0.5)).factor == 0.5
    with pytest.raises(ConfigError, match=r"Scale: factor='2' is not a number\."):
        Scale("2")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("a" * 256, r"It is too long for the name of a file"),
        ("folder:" + "中" * 90, "It is too long for the name of a file"),
        ([Path("b") / ("a" * 300)], "It is too long for the name of a file"),
        (["a", "b\0"], "It has a zero byte"),
    ],
)
def test_what_no_file_is_called_is_said_before_the_system_is_asked(path: Any, message: str) -> None:
    hint = list[str | Path] if isinstance(path, list) else str | Path
    with pytest.raises(ConfigError, match=message):
        check_value("path", path, hint)
    assert check_value("path", "/".join(["b" * 200] * 3), str | Path)
    assert check_value("path", "csv:t.csv?labels=" + "a," * 300, str | Path)
    assert check_value("text", "a" * 999, str) == "a" * 999
