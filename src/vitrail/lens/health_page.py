"""The health of a run, as a section of its report: warnings, and charts of every block."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from vitrail.lens import html
from vitrail.lens.curves import empty_chart
from vitrail.lens.health import HealthWarning, warning_text
from vitrail.lens.theme import LIGHT
from vitrail.messages import _, ngettext

POINTS = 120  # of a line, at most
FAINTEST = 0.22  # opacity of the first block


class Chart(NamedTuple):
    """A chart of a measure over the steps.

    Args:
        measure: its name.
        title: of the chart.
        log: whether the axis is logarithmic; else it begins at 0.
        largest: whether, of several heads, the largest value is drawn, and not the mean.

    Example:
        >>> Chart("gradient_norm", "norm of the gradient", log=True).largest
        False
    """

    measure: str
    title: str
    log: bool = False
    largest: bool = False


def health_charts() -> list[Chart]:
    """What is drawn of a run.

    Returns:
        The charts, in the order of the page.

    Example:
        >>> health_charts()[0].measure
        'gradient_norm'
    """
    return [
        Chart("gradient_norm", _("norm of the gradient"), log=True),
        Chart("update_ratio", _("change in a step ÷ weights"), log=True),
        Chart("activation_std", _("standard deviation of activations"), log=True),
        Chart("patch_norm", _("norm of patch tokens"), log=True),
        Chart("norm_outliers", _("patch tokens of far larger norm, share")),
        Chart("feature_rank", _("effective rank of patch tokens")),
        Chart("attention_entropy", _("entropy of attention, 1 for even weights")),
        Chart("attention_to_self", _("attention to itself, largest head"), largest=True),
        Chart("attention_to_one_token", _("attention to one token, largest head"), largest=True),
        Chart("dead_units", _("hidden units that never fire, share")),
        Chart("drop_path_survival", _("branches that stochastic depth keeps, share")),
    ]


def health_sections(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    """The health of a run.

    Args:
        lines: of its monitor, each with a step, and measures or a warning.

    Returns:
        HTML of the section; none where nothing was measured.

    Example:
        >>> line = {"step": 10, "measures": {"dead_units": {"block 0": 0.0}}}
        >>> "No warning in 1 measurement" in health_sections([line])[0]
        True
    """
    if not lines:
        return []
    warnings = warnings_of(lines)
    measured = [line for line in lines if "measures" in line]
    parts = [html.paragraph(warning_text(warning), "note") for warning in warnings]
    if not warnings:
        text = ngettext(
            "No warning in {count:,} measurement.",
            "No warning in {count:,} measurements.",
            len(measured),
        )
        parts.append(html.paragraph(text.format(count=len(measured))))
    text = _(
        "Each line is a block: the first is faint, the last is full blue. Dashed lines are the "
        "embedding (amber) and the head (red)."
    )
    parts.append(html.paragraph(text, "quiet"))
    figures = [
        figure for chart in health_charts() if (figure := _draw(chart, measured)) is not None
    ]
    return [html.section(_("Health"), *parts, html.charts(figures))]


def warnings_of(lines: Sequence[Mapping[str, Any]]) -> list[HealthWarning]:
    """The warnings among the lines of a monitor.

    Args:
        lines: as in `health_sections`.

    Returns:
        The warnings, oldest first.

    Example:
        >>> fields = {"step": 30, "kind": "rate", "part": "run", "head": None, "since": 10}
        >>> warnings_of([{**fields, "value": 0.5, "text": "..."}])[0].kind
        'rate'
    """
    names = HealthWarning._fields
    return [
        HealthWarning(**{name: line[name] for name in names})
        for line in lines
        if set(names) <= line.keys()
    ]


class _Plain(LogFormatter):
    """Labels such as 0.001; matplotlib's own, with a power of 10, are parsed as formulas."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return f"{x:g}" if super().__call__(x, pos) else ""


def _draw(chart: Chart, lines: Sequence[Mapping[str, Any]]) -> Figure | None:
    """The chart of a measure; None where the run has none."""
    series: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        heads = line.get("heads", {}).get(chart.measure, {})
        parts = line["measures"].get(chart.measure, {}) | {
            part: max(values) if chart.largest else statistics.fmean(values)
            for part, values in heads.items()
            if values
        }
        for part, value in parts.items():
            if math.isfinite(value):
                series.setdefault(part, []).append((line["step"], value))
    series.pop("method", None)  # what is thrown away after training
    if not series:
        return None
    figure, axis = empty_chart(chart.title, _("step"))
    if chart.log and all(value > 0 for points in series.values() for _step, value in points):
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter(_Plain())
        axis.yaxis.set_minor_formatter(_Plain())
    highest = max(value for points in series.values() for _step, value in points)
    if axis.get_yscale() == "linear":
        axis.set_ylim(0, 1.08 * highest or 1)
    inner = [part for part in series if part not in ("embed", "head")]
    for number, part in enumerate(inner):
        depth = number / max(len(inner) - 1, 1)
        opacity = FAINTEST + (1 - FAINTEST) * depth
        _line(axis, series[part], color=LIGHT["glass"], alpha=opacity)
    for part, color in (("embed", LIGHT["amber"]), ("head", LIGHT["ruby"])):
        if part in series:
            _line(axis, series[part], color=color, linestyle="--")
    return figure


def _line(axis: Axes, points: Sequence[tuple[int, float]], **style: Any) -> None:
    """Draws a line, of a long run only some points."""
    some = points[:: -(-len(points) // POINTS)]
    marker: dict[str, Any] = {"marker": "o", "markersize": 2.5} if len(some) == 1 else {}
    axis.plot(*zip(*some, strict=True), linewidth=1.3, **style, **marker)
