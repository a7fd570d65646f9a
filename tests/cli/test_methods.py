"""`vitrail methods`: the list, the choice for a purpose, JSON."""

import json

import pytest

from tests.cli.conftest import Command
from vitrail.methods.purposes import METHOD_PURPOSES, measured_gains
from vitrail.methods.registry import METHODS


def test_all_methods_are_listed_with_papers_and_settings(vitrail: Command) -> None:
    code, output, _ = vitrail("methods")
    assert code == 0
    names = [line.split()[0] for line in output.splitlines() if not line.startswith(" ")]
    assert set(METHODS) <= set(names)
    assert "settings: label_smoothing=0.1" in output
    assert "https://arxiv.org/abs/2111.06377" in output


@pytest.mark.parametrize("purpose", METHOD_PURPOSES)
def test_a_choice_comes_with_reasons_and_limits(purpose: str, vitrail: Command) -> None:
    entry = METHOD_PURPOSES[purpose]
    code, output, _ = vitrail("methods", "--for", purpose)
    assert code == 0
    summary, *lines, limits = output.splitlines()
    assert summary == entry.summary
    names = [line.split()[0] for line in lines if not line.startswith(" ")]
    assert names == list(entry.reasons)
    assert {f"  {reason}" for reason in entry.reasons.values()} <= set(lines)
    assert limits.endswith(entry.limits)
    assert "settings:" not in output


def test_a_choice_shows_what_was_measured(vitrail: Command) -> None:
    output = vitrail("methods", "--for", "few-labels")[1]
    for gain in measured_gains():
        if gain.method in METHOD_PURPOSES["few-labels"].reasons:
            assert f"accuracy {100 * gain.accuracy:.1f} %, +" in output
    assert "unlabelled: accuracy" in output
    assert "over scratch" not in vitrail("methods", "--for", "captions")[1]


def test_json(vitrail: Command) -> None:
    rows = json.loads(vitrail("methods", "--for", "teacher", "--json")[1])
    assert [row["name"] for row in rows] == ["distill"]
    assert [gain["variant"] for gain in rows[0]["gains"]] == ["", "unlabelled"]
    assert "reason" in rows[0]
    assert set(METHODS) <= {row["name"] for row in json.loads(vitrail("methods", "--json")[1])}


def test_an_unknown_purpose_is_one_line(vitrail: Command) -> None:
    code, _, error = vitrail("methods", "--for", "edge")
    assert code == 2
    assert "--for='edge' is not one of 'labels', 'several-labels', 'numbers', 'few-labels'" in error
    assert error.count("\n") == 1
