"""The part of a report on several labels per image, or on numbers."""

from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from vitrail.lens import html
from vitrail.lens.flat import picture, to_bytes
from vitrail.lens.pictures import to_picture
from vitrail.lens.report_data import ReportData, percent
from vitrail.lens.theme import LIGHT
from vitrail.messages import _

ROWS = 60  # of a table


def value_sections(data: ReportData) -> list[str]:
    """How well each label or number is predicted, and where the model errs most.

    Args:
        data: of a run whose evaluation is of several labels or of numbers.

    Returns:
        HTML of each section.

    Example:
        >>> import tempfile
        >>> from vitrail.lens.report_data import read_report
        >>> from vitrail.run_folder import RunFolder
        >>> run = RunFolder(tempfile.mkdtemp())
        >>> row = {"label": "age", "images": 2, "mae": 1.0, "rmse": 1.0, "r2": 0.5}
        >>> run.write_evaluation({"mae": 1.0, "labels": ["age"], "classes": [row],
        ...                       "points": [[[20, 21], [30, 29]]], "mistakes": []})
        >>> len(value_sections(read_report(run)))
        2
    """
    evaluation = data.evaluation
    is_numbers = "points" in evaluation
    title = _("Each number") if is_numbers else _("Each label, hardest first")
    sections = [html.section(title, _table(evaluation["classes"], is_numbers))]
    if is_numbers:
        names = zip(evaluation["labels"], evaluation["points"], strict=True)
        figures = [_scatter(name, points) for name, points in names]
        sections.append(html.section(_("Predicted beside true"), html.charts(figures)))
    if data.images is not None and evaluation["mistakes"]:
        images = data.images if data.model is None else to_bytes(data.images, data.model.preprocess)
        tags = [_mistake(entry, images) for entry in evaluation["mistakes"]]
        gallery = f'<div class="gallery">{"".join(tags)}</div>'
        title = _("Largest errors") if is_numbers else _("Images with most wrong labels")
        sections.append(html.section(title, gallery))
    return sections


def value_figures(evaluation: dict[str, Any]) -> list[tuple[str, str]]:
    """The figures at the top of a report.

    Args:
        evaluation: of several labels or of numbers.

    Returns:
        Pairs of a figure and its name.

    Example:
        >>> value_figures({"map": 0.5, "split": "pets test"})[0]
        ('50.00 %', 'mean average precision on pets test')
    """
    split = evaluation.get("split", "")
    titles = {
        "map": _("mean average precision on {split}").format(split=split),
        "micro_f1": _("F1 of all decisions"),
        "macro_f1": _("F1, mean over labels"),
        "exact": _("images with all labels right"),
        "mae": _("mean absolute error on {split}").format(split=split),
        "rmse": _("root mean squared error"),
        "r2": _("R², 1 for all right"),
    }
    plain = ("mae", "rmse", "r2")
    figures = [
        (f"{evaluation[key]:.4g}" if key in plain else percent(evaluation[key]), title)
        for key, title in titles.items()
        if key in evaluation
    ]
    if "count" in evaluation:
        figures.append((f"{evaluation['count']:,}", _("evaluated images")))
    return figures


def _table(rows: list[dict[str, Any]], is_numbers: bool) -> str:
    titles = {
        "label": _("name"),
        "images": _("images"),
        "average_precision": _("average precision"),
        "threshold": _("threshold"),
        "recall": _("recall"),
        "precision": _("precision"),
        "f1": _("F1"),
        "mae": _("mean absolute error"),
        "rmse": _("root mean squared error"),
        "r2": _("R²"),
    }
    keys = [key for key in titles if key in rows[0]]
    ordered = rows if is_numbers else sorted(rows, key=lambda row: row["average_precision"])
    lines = ["<tr>" + "".join(f"<th>{titles[key]}</th>" for key in keys) + "</tr>"]
    for row in ordered[:ROWS]:
        cells = [row[key] if key in ("label", "images") else f"{row[key]:.4g}" for key in keys]
        tags = [f'<td class="number">{html.escape(cell)}</td>' for cell in cells[1:]]
        name = f'<td class="name">{html.escape(cells[0])}</td>'
        lines.append(f"<tr>{name}{''.join(tags)}</tr>")
    return f'<div class="scroll"><table class="list">{"".join(lines)}</table></div>'


def _scatter(name: str, points: list[list[float]]) -> Figure:
    figure = Figure(figsize=(3.7, 3.4), layout="constrained")
    figure.patch.set_alpha(0)
    axis = figure.subplots()
    true, predicted = zip(*points, strict=True)
    ends = min(*true, *predicted), max(*true, *predicted)
    axis.plot(ends, ends, color=LIGHT["line"], linewidth=1)
    axis.plot(true, predicted, "o", color=LIGHT["glass"], markersize=3, alpha=0.5)
    axis.set_title(name, loc="left", fontsize=10.5, fontweight="bold", color=LIGHT["ink"])
    axis.set_xlabel(_("true"), fontsize=9, color=LIGHT["quiet"])
    axis.set_ylabel(_("predicted"), fontsize=9, color=LIGHT["quiet"])
    axis.tick_params(labelsize=8.5, labelcolor=LIGHT["quiet"], color=LIGHT["line"])
    axis.patch.set_alpha(0)
    return figure


def _mistake(entry: dict[str, Any], images: Tensor) -> str:
    image = images[entry["image"]]
    pixels = to_picture(image) if image.ndim == 3 else picture(image)
    truth, predicted = (
        ", ".join(f"{v:.4g}" if isinstance(v, float) else v for v in entry[key]) or "-"
        for key in ("truth", "predicted")
    )
    text = _("predicted: {labels}").format(labels=predicted)
    return (
        f'<figure title="{html.escape(entry["name"])}">{html.image_tag(pixels, truth, 224)}'
        f'{html.escape(truth)}<br><span class="wrong">{html.escape(text)}</span></figure>'
    )
