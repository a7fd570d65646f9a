"""The health of a run in plain words, and as a section of its report."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from vitrail import messages
from vitrail.errors import ConfigError
from vitrail.lens.health import HealthWarning, part_text, warning_text
from vitrail.lens.health_page import health_charts, health_sections, warnings_of
from vitrail.lens.report_page import write_report
from vitrail.run_folder import RunFolder

KINDS = (
    "head_to_self", "head_to_one_token", "dead_head", "dead_units", "unchanged", "no_gradient",
    "rate", "labels",
)  # fmt: skip


def line(step: int, **parts: float) -> dict[str, Any]:
    """A measurement of two blocks."""
    measures = {
        chart.measure: {"embed": 0.5, "block 0": 0.1 * step, "block 1": 0.2, "head": 0.3}
        for chart in health_charts()
        if "attention" not in chart.measure
    }
    return {
        "step": step,
        "measures": {**measures, "dead_units": parts},
        "heads": {"attention_to_self": {"block 0": [0.1, 0.7], "block 1": [0.3, 0.2]}},
    }


WARNING = HealthWarning(820, "head_to_self", "block 4", 2, 800, 0.99)


@pytest.fixture
def chinese(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("LANGUAGE", "zh_CN")
    messages._catalog.cache_clear()
    yield
    messages._catalog.cache_clear()


def test_a_warning_says_where_and_since_when() -> None:
    assert warning_text(WARNING) == "block 4, head 2 has looked only at itself since step 800."
    frozen = HealthWarning(30, "unchanged", "blocks.2.mlp", None, 10, 4.0)
    assert warning_text(frozen).startswith("blocks.2.mlp has not changed since step 10")
    assert part_text("stage 1") == "stage 1"
    assert part_text("embed") == "the embedding"


@pytest.mark.usefixtures("chinese")
def test_every_warning_has_chinese_words() -> None:
    assert warning_text(WARNING) == "第 4 个 block 的第 2 头从第 800 步起只关注自身。"
    for kind in KINDS:
        text = warning_text(WARNING._replace(kind=kind))
        assert re.search("[一-鿿]", text), kind
        assert "{" not in text


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_sentence(kind: str) -> None:
    text = warning_text(WARNING._replace(kind=kind))
    assert text.endswith((".", "?"))
    assert "{" not in text


def test_a_section_has_warnings_and_charts() -> None:
    lines = [line(10), line(20), {**WARNING._asdict(), "text": "..."}]
    (section,) = health_sections(lines)
    assert (
        '<p class="note">block 4, head 2 has looked only at itself since step 800.</p>' in section
    )
    assert "No warning" not in section
    # What was measured: attention of heads only in one way, no unit.
    assert section.count("<svg") == 8
    assert not set(re.findall(r"#[0-9a-f]{6}\b", section)) - {"#000000"}
    assert "var(--glass)" in section
    assert "var(--amber)" in section
    assert health_sections([]) == []


def test_the_largest_head_is_drawn_of_what_only_one_does() -> None:
    from vitrail.lens.health_page import Chart, _draw

    def ends(chart: Chart) -> list[float]:
        figure = _draw(chart, [line(10), line(20)])
        assert figure is not None
        return [float(curve.get_ydata()[-1]) for curve in figure.axes[0].lines]  # type: ignore[index]

    assert ends(Chart("attention_to_self", "", largest=True)) == [0.7, 0.3]
    assert ends(Chart("attention_to_self", "")) == pytest.approx([0.4, 0.25])
    assert ends(Chart("gradient_norm", "", log=True)) == [2.0, 0.2, 0.5, 0.3]


def test_a_long_run_has_few_points() -> None:
    (section,) = health_sections([line(step) for step in range(1, 2001)])
    assert len(section) < 300_000


def test_the_report_has_the_section(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.write_settings({"data": {"source": "digits"}})
    assert "<h2>Health</h2>" not in write_report(run).read_text()
    lines = [line(10), {**WARNING._asdict(), "text": "..."}]
    run.monitor_file.write_text("".join(json.dumps(entry) + "\n" for entry in lines))
    page = write_report(run).read_text()
    assert "<h2>Health</h2>" in page
    assert "looked only at itself" in page
    assert warnings_of(run.health) == [WARNING]


@pytest.mark.parametrize(
    "text",
    [
        '{"step": 1, "heads": {"a": {"b": ["c"]}}}\n',
        '{"step": 1, "measures": {"a": {"b": [1]}}}\n',
        '{"step": 1, "measures": 3}\n',
        '{"step": 1, "else": 3}\n',
    ],
)
def test_a_file_of_something_else_is_refused(text: str, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.monitor_file.write_text(text)
    with pytest.raises(ConfigError, match=r"monitor\.jsonl, line 1"):
        assert run.health


def test_a_number_that_is_not_finite_is_left_out() -> None:
    other = {"step": 20, "measures": {"dead_units": {"block 0": float("nan")}}}
    (section,) = health_sections([line(10, **{"block 0": 0.1}), other])
    assert "<svg" in section
