"""`vitrail models`: the list, the choice for a purpose, JSON."""

import json

import pytest

from tests.cli.conftest import Command
from vitrail.hub.bundled import bundled_models
from vitrail.models.purposes import MODEL_PURPOSES
from vitrail.models.registry import variants

# A class without variants is listed by its name, and models that come with Vitrail below theirs.
NAMES = {*variants(), *bundled_models(), "OfficialVisionMamba"}


def test_all_variants_are_listed(vitrail: Command) -> None:
    code, output, _ = vitrail("models")
    assert code == 0
    rows = {line.split()[0]: line for line in output.splitlines() if line.startswith("  ")}
    assert set(rows) == NAMES
    assert output.count("Swin  2021") == 1
    assert rows["swin_tiny_patch4_window7_224"].split()[1:] == ["28.3", "M", "4.49", "G"]
    assert rows["small-vit"].endswith(" G  comes with Vitrail")


@pytest.mark.parametrize("purpose", MODEL_PURPOSES)
def test_a_choice_comes_with_reasons_figures_and_limits(purpose: str, vitrail: Command) -> None:
    entry = MODEL_PURPOSES[purpose]
    code, output, _ = vitrail("models", "--for", purpose)
    assert code == 0
    lines = output.splitlines()
    assert lines[0] == entry.summary
    assert [line.split()[0] for line in lines[1:-2:2]] == list(entry.reasons)
    assert [line.strip() for line in lines[2:-2:2]] == list(entry.reasons.values())
    assert all(" M " in line and " G " in line and " ms" in line for line in lines[1:-2:2])
    assert lines[-2].startswith("ms: one image, float32, ")
    assert lines[-1] == entry.limits


def test_json(vitrail: Command) -> None:
    code, output, _ = vitrail("models", "*tiny*", "--for", "long-sequences", "--json")
    rows = json.loads(output)
    assert code == 0
    assert [row["name"] for row in rows] == [
        "vim_tiny", "xcit_tiny_12_p16_224", "swin_tiny_patch4_window7_224",
    ]  # fmt: skip
    assert rows[0]["weights"] == "hustvl/Vim-tiny-midclstok"
    assert rows[0]["tier"] == "sequence"
    assert "reason" in rows[0]
    everything = json.loads(vitrail("models", "--json")[1])
    assert {row["name"] for row in everything} == NAMES
    assert "reason" not in everything[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--for", "phone"], "--for='phone' is not one of 'small-data', 'edge', 'detection', "),
        (["--for", "edg"], "Did you mean 'edge'?"),
        (["swin*", "--for", "edge"], "no model matches 'swin*': `vitrail models --for edge` lists"),
        (["resnet*"], "no model matches 'resnet*': `vitrail models` lists all."),
    ],
)
def test_wrong_use_is_one_line(arguments: list[str], message: str, vitrail: Command) -> None:
    code, _, error = vitrail("models", *arguments)
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
