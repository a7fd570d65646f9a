"""Wrong and odd values in every parameter of every public function: one line, or the right value.

The functions are found, not listed. Of each, `rows.py` has a valid call; the values that take the
place of its arguments follow from the annotations, in `wrong.py`.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.hunt import surface
from tests.hunt.kit import Kit
from tests.hunt.rows import DATA, FRONT, METHODS, Row
from tests.hunt.rows_parts import PARTS
from tests.hunt.verdict import Only, problems, run
from tests.models.small import images_for, keywords_of
from vitrail.errors import VitrailError
from vitrail.registry import snapshot

PUBLIC = surface.public()
ROWS = {**FRONT, **DATA, **METHODS, **PARTS}
MODELS = {name for name, function in PUBLIC.items() if surface.is_model(function)}
SLOW = {
    "vitrail.deploy.export_onnx", "vitrail.deploy.export_program", "vitrail.deploy.fastest",
    "vitrail.fit", "vitrail.train.train_and_report", "vitrail.train.train_folds",
}  # fmt: skip
OWN_ERRORS = {"vitrail.methods.Method"}  # a base class
SAMPLE = 3  # of so many odd values, one is tried in every run of the tests


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kit]:
    """What valid calls are made of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("current"))
        yield Kit(tmp_path_factory.mktemp("hunt"))


def row_of(name: str) -> Row:
    """The valid call of a function; of a model, its small instance."""
    if name not in MODELS:
        return ROWS[name]

    def arguments(kit: Kit) -> dict[str, Any]:
        return keywords_of(PUBLIC[name].__name__)

    return Row(arguments, lambda kit, model: model.eval()(images_for(model)))


def hunt(name: str, kit: Kit, only: Only | None = None) -> list[str]:
    """What is wrong with the calls of a function, one line for each."""
    function, row = PUBLIC[name], row_of(name)
    lines, restore = [], snapshot()
    for call, problem in problems(function, row, kit, only):
        restore()
        lines.append(f"{name}({call}): {problem}")
    restore()
    return lines


def test_every_public_function_has_a_valid_call() -> None:
    missing = sorted(PUBLIC.keys() - ROWS.keys() - MODELS)
    assert not missing, f"no example call: {missing}: add rows to rows.py"
    stale = sorted(ROWS.keys() - PUBLIC.keys())
    assert not stale, f"rows of what is not public: {stale}"


@pytest.mark.parametrize("name", sorted(PUBLIC.keys() - MODELS - SLOW))
def test_wrong_values(name: str, kit: Kit) -> None:
    run(PUBLIC[name], row_of(name), kit, {})
    assert not hunt(name, kit, lambda number, case: number % SAMPLE == 0)


@pytest.mark.parametrize("name", sorted(PUBLIC.keys() - OWN_ERRORS))
def test_unknown_keywords_and_too_many_arguments(name: str, kit: Kit) -> None:
    arguments = row_of(name).arguments(kit)
    with pytest.raises(VitrailError, match="no_such_keyword"):
        PUBLIC[name](**arguments, no_such_keyword=3)
    with pytest.raises(VitrailError):
        PUBLIC[name](*[3] * 40)


@pytest.mark.parametrize("name", sorted(SLOW))
def test_what_takes_long_refuses_at_once(name: str, kit: Kit) -> None:
    assert not hunt(name, kit, lambda number, case: case.allowed is False)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_all_wrong_values(name: str, kit: Kit) -> None:
    run(PUBLIC[name], row_of(name), kit, {})
    assert not hunt(name, kit)
