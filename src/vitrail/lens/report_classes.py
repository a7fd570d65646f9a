"""The part of a report on classes: how well each is recognized, and what it is taken for."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from vitrail.intervals import interval_text, wilson
from vitrail.lens import html
from vitrail.lens.flat import picture, to_bytes
from vitrail.lens.fonts import text_width
from vitrail.lens.pictures import to_picture
from vitrail.lens.report_data import ReportData, class_results, error_rates, percent
from vitrail.messages import _

CLASSES_LISTED, CLASSES_CROSSED, CLASSES_NUMBERED = 40, 60, 20  # in the list, the matrix, its cells
WIDTH_BESIDE, WIDTH_CROSSED = 14, 24  # of names: beside the matrix, in it; in widths of a letter


def class_sections(data: ReportData) -> list[str]:
    """Accuracy by class, the confusion matrix, and the most confident mistakes.

    Args:
        data: of a run whose evaluation has an accuracy.

    Returns:
        HTML of each section.

    Example:
        >>> import tempfile
        >>> from vitrail.lens.report_data import read_report
        >>> from vitrail.run_folder import RunFolder
        >>> run = RunFolder(tempfile.mkdtemp())
        >>> evaluation = {"labels": ["cat", "dog"], "confusion": [[3, 1], [0, 4]], "mistakes": []}
        >>> run.write_evaluation({"top1": 0.875, **evaluation})
        >>> len(class_sections(read_report(run)))
        1
    """
    evaluation = data.evaluation
    labels = evaluation["labels"]
    rest = len(labels) - CLASSES_LISTED
    more = [html.paragraph(_("and {n} easier ones").format(n=rest), "quiet")] if rest > 0 else []
    title = _("Accuracy of each class, hardest first")
    classes = html.section(title, _class_table(evaluation), *more)
    parts = [classes]
    if len(labels) <= CLASSES_CROSSED:
        legend = _("Rows are the true class, columns the predicted one.")
        matrix = _confusion_table(evaluation)
        crossed = html.section(_("Confusion matrix"), html.paragraph(legend, "quiet"), matrix)
        beside = len(labels) <= CLASSES_NUMBERED and max(map(text_width, labels)) <= WIDTH_BESIDE
        parts = [html.side_by_side(classes, crossed)] if beside else [classes, crossed]
    if data.images is not None and evaluation["mistakes"]:
        legend = _("Wrong predictions of the highest confidence. Wrong labels show up here, too.")
        images = data.images if data.model is None else to_bytes(data.images, data.model.preprocess)
        tags = [_mistake(entry, labels, images) for entry in evaluation["mistakes"]]
        style = "gallery" if images.ndim == 4 else "gallery wide"
        gallery = f'<div class="{style}">{"".join(tags)}</div>'
        title = _("Most confident mistakes")
        parts.append(html.section(title, html.paragraph(legend, "quiet"), gallery))
    return parts


def _class_table(evaluation: dict[str, Any]) -> str:
    """One row per class: its accuracy, and the class it is most often taken for."""
    precision_title, other_title = map(html.escape, (_("precision"), _("most often taken for")))
    rows = [
        f'<tr><th>{_("class")}</th><th colspan="2">{_("accuracy")}</th>'
        f"<th>{precision_title}</th><th>{other_title}</th></tr>"
    ]
    precisions = {row["label"]: row["precision"] for row in evaluation.get("classes", ())}
    for result in class_results(evaluation["labels"], evaluation["confusion"])[:CLASSES_LISTED]:
        other = f"{result.confused_with} ({result.times})" if result.times else ""
        value = percent(result.accuracy) if result.images else _("no images")
        if result.images:
            right = round(result.accuracy * result.images)
            value += f" ({interval_text(*wilson(right, result.images))})"
        precision = percent(precisions[result.label]) if result.label in precisions else ""
        rows.append(
            f'<tr><td class="name">{html.escape(result.label)}</td>'
            f'<td class="bars"><span class="bar" '
            f'style="--fraction:{100 * result.accuracy:.1f}%"></span></td>'
            f'<td class="number">{value}</td>'
            f'<td class="number" data-title="{precision_title}">{precision}</td>'
            f'<td class="quiet name" data-title="{other_title}">{html.escape(other)}</td></tr>'
        )
    return f'<table class="list classes">{"".join(rows)}</table>'


def _shortened(text: str, width: int) -> str:
    """The text, cut to a width in letters, with an ellipsis where it is longer."""
    if text_width(text) <= width:
        return text
    while text and text_width(text) > width - 1:
        text = text[:-1]
    return f"{text}…"


def _confusion_table(evaluation: dict[str, Any]) -> str:
    """The confusion matrix: recall on the diagonal in blue, error rates in amber.

    Errors are shaded relative to the highest error rate, which counts as 5 % at least, so that a
    few errors do not look like many.
    """
    labels, confusion = evaluation["labels"], evaluation["confusion"]
    rates = error_rates(confusion)
    errors = [rate for i, row in enumerate(rates) for j, rate in enumerate(row) if i != j]
    highest = max([*errors, 0.05])
    names = [_shortened(label, WIDTH_CROSSED) for label in labels]
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in names)
    few = len(labels) <= CLASSES_NUMBERED
    rows = []
    for i, row in enumerate(confusion):
        cells = []
        for j, count in enumerate(row):
            shade = rates[i][j] if i == j else rates[i][j] / highest
            title = _("{truth}, predicted as {prediction}: {count}")
            title = title.format(truth=labels[i], prediction=labels[j], count=count)
            style = ("right" if i == j else "missed") + (" deep" if shade > 0.6 else "")
            shaded = f' class="{style}" style="--fraction:{100 * shade:.0f}%"' if count else ""
            number = str(count) if count and few else ""
            cells.append(f'<td{shaded} title="{html.escape(title)}">{number}</td>')
        rows.append(f'<tr><th scope="row">{html.escape(names[i])}</th>{"".join(cells)}</tr>')
    cell = min(34, (440 if few else 900) // len(labels))
    return (
        f'<div class="scroll"><table class="matrix" style="--cell:{cell}px">'
        f"<thead><tr><th></th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _mistake(entry: dict[str, Any], labels: Sequence[str], images: Tensor) -> str:
    truth = labels[entry["truth"]]
    image = images[entry["image"]]
    pixels = to_picture(image) if image.ndim == 3 else picture(image)
    tag = html.image_tag(pixels, truth, 224 if image.ndim == 3 else 560)
    text = _("taken for {label}, {confidence:.0%}")
    text = text.format(label=labels[entry["predicted"]], confidence=entry["confidence"])
    return (
        f'<figure title="{html.escape(entry["name"])}">{tag}{html.escape(truth)}<br>'
        f'<span class="wrong">{html.escape(text)}</span></figure>'
    )
