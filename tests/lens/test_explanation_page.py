"""What the comparison of explanations says: which one to use, and which ones are no evidence."""

from typing import Any

import pytest
import torch

from tests.models.small import images_for, small
from vitrail.lens.explanation_page import (
    class_captions,
    comparison_section,
    map_rows,
    recommendation,
)
from vitrail.lens.faithfulness.compare import Faithfulness
from vitrail.models.outputs import Outputs


def row(name: str, gain: float, *, beats: bool = True, depends: bool = True) -> dict[str, Any]:
    """A row of `summarize_results` with insertion 0.5 + gain and deletion 0.5."""
    figures = {"deletion": 0.5, "insertion": 0.5 + gain, "correlation": 0.0 if depends else 0.9}
    errors = {f"{key}_error": 0.01 for key in figures}
    verdict = {"beats_random": beats, "depends_on_weights": depends}
    return {"explanation": name, **figures, **errors, **verdict}


def test_the_best_of_those_that_pass_is_recommended() -> None:
    rows = [
        row("a", 0.1), row("b", 0.3), row("lucky", 0.4, beats=False),
        row("edges", 0.5, depends=False), row("random", 0.9),
    ]  # fmt: skip
    best, failed = recommendation(rows)
    assert best.startswith("Recommended: b. ")
    assert failed.startswith("Not evidence: edges. With random weights the map is much the same")
    assert len(recommendation(rows[:2])) == 1
    (none,) = recommendation([row("lucky", 0.4, beats=False), row("random", 0.9)])
    assert none.startswith("None is recommended: no explanation is better than random maps")


def test_the_page_says_so_in_its_table_and_below_each_map() -> None:
    page = comparison_section([row("edges", 0.5, depends=False), row("random", 0.0)], 4, "test")
    assert page.count('<p class="note">') == 2 and "Not evidence: edges." in page
    results = [
        Faithfulness(name, torch.zeros(1), torch.ones(1), torch.tensor([r]), torch.ones(1, 2, 2))
        for name, r in (("edges", 0.9), ("relevance", 0.1))
    ]
    images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    (panels,) = map_rows(images, results, ["cat"])
    assert [panel.caption for panel in panels] == [
        "cat", "edges: fails the check by random weights", "relevance",
    ]  # fmt: skip


@pytest.mark.parametrize("target", ["class", "labels"])
def test_probabilities_are_those_of_the_models_outputs(target: Any) -> None:
    """Of several labels each has a probability of its own, which does not fall with the others."""
    from vitrail.lens.explanations import explain
    from vitrail.lens.faithfulness.perturbation import perturbation_curve

    model = small("ViT", num_classes=3)
    model.outputs = Outputs(target)
    images = images_for(model)
    with torch.no_grad():
        logits = model(images)
        patches = model.head(model.norm(model.block_outputs(images, model.depth)[-1].patches))
    expected = logits.softmax(1) if target == "class" else logits.sigmoid()
    curve = perturbation_curve(model, images, torch.rand(len(images), 4, 4), 1, steps=2)
    torch.testing.assert_close(curve.probabilities[0], expected[:, 1])
    percent = f"class 1 ({100 * expected[0, 1].item():.0f} %)"
    assert class_captions(model, images, 1)[0] == percent
    maps = explain(model, images, "patch_logits", 1).flatten(1)
    of_patches = patches.softmax(-1) if target == "class" else patches.sigmoid()
    torch.testing.assert_close(maps, of_patches[..., 1])
