"""Every lesson holds what it promises; `make course` proves all of them and prints the shares."""

import pytest

from tools.course import prove
from vitrail.learn import all_lessons, find_lesson

QUICK = ("core/patch_embed", "core/attention")  # the others are proven by `make course`
SLOW = [lesson.id for lesson in all_lessons() if lesson.id not in QUICK]


@pytest.mark.parametrize(
    "name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
)
def test_a_lesson_is_proven(name: str) -> None:
    proof = prove(find_lesson(name), pairs=name in QUICK[:1])
    assert not proof.problems
    assert proof.diagnosed == proof.wrong >= 5
    assert proof.named >= 0.7 * proof.pairs
