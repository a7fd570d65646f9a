"""The comparison of explanations of a run: a table of how far each can be believed, and maps."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vitrail.lens import html
from vitrail.lens.explanations.base import class_indices
from vitrail.lens.faithfulness.compare import MAX_CORRELATION, RANDOM, Faithfulness
from vitrail.lens.figures import Panel
from vitrail.lens.plots import explanation_panels
from vitrail.messages import _
from vitrail.models.base import Backbone


def summarize_results(results: Sequence[Faithfulness]) -> list[dict[str, Any]]:
    """Means over images with their standard errors, beside random maps.

    Args:
        results: those of `compare_explanations`, random maps last.

    Returns:
        A row per explanation as plain values: `explanation`; `deletion`, `insertion` and
        `correlation` with `..._error`, the standard error; `beats_random`, whether insertion less
        deletion is larger than that of random maps by two standard errors of the paired difference;
        `depends_on_weights`.

    Example:
        >>> one = Faithfulness("rollout", torch.zeros(2), torch.ones(2), torch.zeros(2))
        >>> random = Faithfulness("random", torch.full((2,), 0.5), torch.full((2,), 0.5), None)
        >>> summarize_results([one, random])[0]["beats_random"]
        True
    """
    random = results[-1].insertion - results[-1].deletion
    rows = []
    for result in results:
        row: dict[str, Any] = {"explanation": result.explanation}
        for name in ("deletion", "insertion", "correlation"):
            values: Tensor | None = getattr(result, name)
            row[name] = None if values is None else float(values.mean())
            row[f"{name}_error"] = None if values is None else _standard_error(values)
        gain = result.insertion - result.deletion - random
        several = len(gain) > 1  # one image has no standard error
        row["beats_random"] = several and float(gain.mean()) > 2 * _standard_error(gain)
        row["depends_on_weights"] = result.depends_on_weights
        rows.append(row)
    return rows


def comparison_section(rows: Sequence[Mapping[str, Any]], images: int, split: str) -> str:
    """The table of a comparison, as a section of a page.

    Args:
        rows: those of `summarize_results`.
        images: number of images.
        split: where they are from, such as "test".

    Returns:
        HTML.

    Example:
        >>> row = {"explanation": "random", "deletion": 0.5, "insertion": 0.5, "correlation": None,
        ...        "beats_random": False, "depends_on_weights": True, "deletion_error": 0.0,
        ...        "insertion_error": 0.0}
        >>> "0.500" in comparison_section([row], 4, "test")
        True
    """
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table_head())
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells)}"
        f'<td class="name">{html.escape(words)}</td></tr>'
        for *cells, words in map(table_row, rows)
    )
    text = _(
        "Measured on {images} images of {split}. Deletion covers the patches with the highest "
        "values first: the lower the area under the curve of the probability, the better. "
        "Insertion shows them first: the higher, the better. ± is the standard error over images. "
        "Correlation is that of the map with the map of the same model with random weights: from "
        "{limit} on, the map says little about what the model has learned."
    ).format(images=images, split=split, limit=MAX_CORRELATION)
    table = f'<div class="scroll"><table class="list"><tr>{head}</tr>{body}</table></div>'
    notes = (html.paragraph(sentence, "note") for sentence in recommendation(rows))
    return html.section(
        _("How far explanations can be believed"), html.paragraph(text), *notes, table
    )


def recommendation(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which explanation of the model to use, and which not to show.

    Args:
        rows: those of `summarize_results`.

    Returns:
        A sentence on the one with the largest insertion less deletion, of those that beat random
        maps and depend on the weights; and a sentence on those that fail the check by random
        weights, if any.

    Example:
        >>> good = {"explanation": "occlusion", "insertion": 0.9, "deletion": 0.2,
        ...         "beats_random": True, "depends_on_weights": True}
        >>> edges = {**good, "explanation": "edges", "depends_on_weights": False}
        >>> recommendation([good, edges])[0].split(":")[0]
        'Recommended'
    """
    rows = [row for row in rows if row["explanation"] != RANDOM]
    trusted = [row for row in rows if row["beats_random"] and row["depends_on_weights"]]
    failed = [str(row["explanation"]) for row in rows if not row["depends_on_weights"]]
    if trusted:
        best = max(trusted, key=lambda row: float(row["insertion"]) - float(row["deletion"]))
        text = _(
            "Recommended: {name}. Of the explanations that are better than random maps and pass "
            "the check by random weights, it has the largest insertion less deletion."
        )
        sentences = [text.format(name=best["explanation"])]
    else:
        sentences = [
            _(
                "None is recommended: no explanation is better than random maps and passes the "
                "check by random weights. More images may decide it: --count."
            )
        ]
    if failed:
        text = _(
            "Not evidence: {names}. With random weights the map is much the same, so it says "
            "little about what this model has learned."
        )
        sentences.append(text.format(names=", ".join(failed)))
    return sentences


def table_head() -> list[str]:
    """The heads of the columns of a comparison.

    Returns:
        One text per column.

    Example:
        >>> len(table_head())
        5
    """
    return [
        _("explanation"),
        _("deletion"),
        _("insertion"),
        _("correlation"),
        _("what to think of it"),
    ]


def table_row(row: Mapping[str, Any]) -> list[str]:
    """A row of a comparison as texts.

    Args:
        row: a row of `summarize_results`.

    Returns:
        One text per column.

    Example:
        >>> row = {"explanation": "edges", "deletion": 0.5, "deletion_error": 0.1,
        ...        "insertion": 0.5, "insertion_error": 0.1, "correlation": 1.0,
        ...        "correlation_error": 0.0, "beats_random": False, "depends_on_weights": False}
        >>> table_row(row)[-1]
        'no better than random maps; fails the check by random weights'
    """
    cells = [str(row["explanation"])]
    for name in ("deletion", "insertion", "correlation"):
        value = row[name]
        cells.append("–" if value is None else f"{value:.3f} ± {row[f'{name}_error']:.3f}")
    return [*cells, verdict(row)]


def verdict(row: Mapping[str, Any]) -> str:
    """What the figures say of an explanation.

    Args:
        row: a row of `summarize_results`.

    Returns:
        A few words; "" for random maps.

    Example:
        >>> verdict({"explanation": "a", "beats_random": True, "depends_on_weights": True})
        'better than random maps'
    """
    if row["explanation"] == RANDOM:
        return ""
    words = [
        _("better than random maps") if row["beats_random"] else _("no better than random maps")
    ]
    if not row["depends_on_weights"]:
        words.append(_("fails the check by random weights"))
    return "; ".join(words)


def map_rows(
    images: Tensor, results: Sequence[Faithfulness], captions: Sequence[str]
) -> list[list[Panel]]:
    """The maps of several explanations beside each image.

    Args:
        images: uint8 (B, C, *size), cropped as the model sees them; the first of those compared.
        results: those of `compare_explanations`.
        captions: the caption of each image, such as that of `class_captions`.

    Returns:
        A row of panels per image; random maps are left out.

    Example:
        >>> images, maps = torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.ones(1, 2, 2)
        >>> one = Faithfulness("rollout", torch.zeros(1), torch.ones(1), torch.zeros(1), maps)
        >>> [panel.caption for panel in map_rows(images, [one], ["cat (90 %)"])[0]]
        ['cat (90 %)', 'rollout']
    """
    rows: list[list[Panel]] = [[] for _image in images]
    for result in results:
        if result.explanation == RANDOM or result.maps is None:
            continue
        maps = result.maps.cpu()[: len(images)]
        name = result.explanation
        if not result.depends_on_weights:
            name = _("{explanation}: fails the check by random weights").format(explanation=name)
        for row, image, weights, caption in zip(rows, images, maps, captions, strict=False):
            picture, drawing = explanation_panels(image, weights, name)[0]
            row += [drawing] if row else [picture._replace(caption=caption), drawing]
    return rows


def class_captions(
    model: Backbone, inputs: Tensor, target: int | str | Sequence[int | str] | None
) -> list[str]:
    """The class that is explained in each image, with its probability.

    Args:
        model: the model, in evaluation mode.
        inputs: normalized images (B, C, *size).
        target: as in `explain`.

    Returns:
        One text per image.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=1, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> class_captions(model, torch.zeros(1, 3, 8, 8), None)
        ['class 0 (100 %)']
    """
    with torch.no_grad():
        probs = model.outputs.activate(model(inputs))
    if target is None:
        indices = probs.argmax(dim=1)
    else:
        indices = class_indices(model, len(inputs), "relevance", target)
    labels = model.labels or [_("class {n}").format(n=n) for n in range(model.num_classes)]
    return [
        f"{labels[index]} ({100 * row[index].item():.0f} %)"
        for row, index in zip(probs, indices.tolist(), strict=True)
    ]


def comparison_json(rows: Sequence[Mapping[str, Any]], images: int, split: str) -> str:
    """A comparison as JSON.

    Args:
        rows: those of `summarize_results`.
        images: number of images.
        split: where they are from.

    Returns:
        An object with `images`, `split` and `explanations`.

    Example:
        >>> comparison_json([], 4, "test")[:16]
        '{\\n  "images": 4,'
    """
    return json.dumps({"images": images, "split": split, "explanations": list(rows)}, indent=2)


def _standard_error(values: Tensor) -> float:
    return float(values.std() / len(values) ** 0.5) if len(values) > 1 else 0.0
