"""Files that are nearly right end in a one-line error, or are read."""

import pytest

from tests.security.fuzz import NAMES, run


# Pillow warns of odd files.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", NAMES)
def test_a_few_cases(target: str) -> None:
    run(target, 100)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", NAMES)
def test_many_cases(target: str) -> None:
    run(target, 2000, seed=1)
