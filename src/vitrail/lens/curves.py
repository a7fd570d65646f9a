"""Training curves: loss, accuracy, learning rate and a method's own metrics over the epochs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vitrail.arguments import checked
from vitrail.lens.theme import LIGHT
from vitrail.messages import _

COMMON = {"step", "split", "epoch", "loss", "lr", "grad_norm", "top1", "top5"}
MANY_POINTS = 40  # from here on points are not marked, and noise is smoothed

Point = tuple[float, float]  # epoch, value


@checked
def training_curves(metrics: Sequence[Mapping[str, object]]) -> list[Figure]:
    """One chart per metric over the epochs: loss, accuracy, the method's own, learning rate.

    Args:
        metrics: lines of a run's metrics, each with step, epoch, split ("train" or "val") and
            values; values that are not finite are left out.

    Returns:
        Charts of the metrics that occur.

    Example:
        >>> line = {"step": 1, "epoch": 1.0, "split": "train", "loss": 2.0}
        >>> len(training_curves([line]))
        1
    """
    keys = dict.fromkeys(key for line in metrics for key in line if line["split"] == "train")
    names = {"scale": _("scale of the logits, 1 / temperature")}
    own = [(k, names.get(k, k.replace("_", " ")), 1.0, ".3f") for k in keys if k not in COMMON]
    lines: Sequence[Mapping[str, Any]] = metrics
    charts = []
    for key, name, scale, form in (
        ("loss", _("loss of the method"), 1.0, ".3f"),
        ("top1", _("accuracy, %"), 100.0, ".1f"),
        ("map", _("mean average precision, %"), 100.0, ".1f"),
        *own,
        ("lr", _("learning rate"), 1.0, ""),
    ):
        points = {
            split: [
                (line["epoch"], scale * line[key])
                for line in lines
                if line["split"] == split and math.isfinite(line.get(key, math.nan))
            ]
            for split in ("train", "val")
        }
        if any(points.values()):
            charts.append(_chart(points["train"], points["val"], name, form))
    return charts


def _chart(train: list[Point], validation: list[Point], name: str, form: str) -> Figure:
    """A chart of one metric; with `form`, the last value is written beside its point."""
    figure, axis = empty_chart(name, _("epoch"))
    color = LIGHT["glass"] if form else LIGHT["amber"]
    smooth = _draw(axis, train, _("training"), LIGHT["lead"] if validation else color)
    marks = _draw(axis, validation, _("validation"), color)
    values = [value for _epoch, value in (*smooth, *marks)]
    margin = 0.14 * (max(values) - min(values)) or 0.14 * abs(max(values)) or 1.0
    axis.set_ylim(min(values) - margin, max(values) + margin)
    if form:
        end = (marks or smooth)[-1]
        below = end[1] < (max(values) + min(values)) / 2
        axis.annotate(
            f"{end[1]:{form}}", end, xytext=(0, -14 if below else 7), textcoords="offset points",
            ha="right", fontsize=9, color=color, fontweight="bold",
        )  # fmt: skip
    if smooth and marks:
        axis.legend(fontsize=8.5, frameon=False, labelcolor=LIGHT["ink"])
    return figure


def empty_chart(title: str, label: str) -> tuple[Figure, Axes]:
    """A chart without lines, in the style of the report.

    Args:
        title: above it.
        label: of the horizontal axis.

    Returns:
        The figure, and its axes to draw on.

    Example:
        >>> empty_chart("loss", "epoch")[1].get_xlabel()
        'epoch'
    """
    figure = Figure(figsize=(3.7, 2.9))  # a layout that is computed takes three times as long
    figure.patch.set_alpha(0)
    axis = figure.add_axes((0.16, 0.16, 0.81, 0.74))
    axis.patch.set_alpha(0)
    axis.set_title(title, loc="left", fontsize=10.5, fontweight="bold", color=LIGHT["ink"])
    axis.set_xlabel(label, fontsize=9, color=LIGHT["quiet"])
    axis.tick_params(labelsize=8.5, labelcolor=LIGHT["quiet"], color=LIGHT["line"], which="both")
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["bottom", "left"]].set_color(LIGHT["line"])
    axis.grid(color=LIGHT["line"], linewidth=0.7)
    axis.set_axisbelow(True)
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_formatter("{x:g}")  # no factor above the axis, where the title is
    return figure, axis


def _draw(axis: Axes, points: list[Point], label: str, color: str) -> list[Point]:
    """Draws a line, a noisy one faintly with its running mean; returns the points of the mean."""
    if not points:
        return []
    values = [value for _epoch, value in points]
    turns = sum(
        (b - a) * (c - b) < 0 for a, b, c in zip(values, values[1:], values[2:], strict=False)
    )
    if len(points) >= MANY_POINTS and turns > len(points) / 4:
        axis.plot(*zip(*points, strict=True), color=color, linewidth=0.8, alpha=0.3)
        window = len(points) // 20
        points = [
            (epoch, sum(values[max(0, i - window + 1) : i + 1]) / min(i + 1, window))
            for i, (epoch, _value) in enumerate(points)
        ]
    style: dict[str, Any] = {"marker": "o", "markersize": 3.5} if len(points) < MANY_POINTS else {}
    axis.plot(*zip(*points, strict=True), color=color, label=label, linewidth=1.6, **style)
    return points
