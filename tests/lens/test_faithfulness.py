"""What faithfulness measures: right maps beat random ones, and constant ones are found out."""

import math

import pytest
import torch
from torch import Tensor, nn

import vitrail
from tests.models.small import images_for, small
from vitrail.errors import ConfigError, TierError
from vitrail.lens.explanation_page import summarize_results
from vitrail.lens.explanations import register_explanation
from vitrail.lens.faithfulness.boxes import mass_inside, pointing_game
from vitrail.lens.faithfulness.compare import Faithfulness, compare_explanations
from vitrail.lens.faithfulness.perturbation import _ranks_from_highest, perturbation_curve
from vitrail.lens.faithfulness.randomization import randomization_check, rank_correlation
from vitrail.models.base import Backbone


class ReadsOneCell(nn.Module):
    """Logits of two classes: the sum of the top left, and of the bottom right, 8 x 8 pixels."""

    def forward(self, images: Tensor) -> Tensor:
        first = images[:, :, :8, :8].mean((1, 2, 3))
        second = images[:, :, -8:, -8:].mean((1, 2, 3))
        return 10 * torch.stack([first, second], dim=1)


def one_cell(monkeypatch: pytest.MonkeyPatch) -> tuple[Backbone, Tensor]:
    model, images = small("ViT", num_classes=2), torch.ones(2, 3, 32, 32)
    reads = ReadsOneCell()
    monkeypatch.setattr(type(model), "forward", lambda self, images: reads(images))
    return model, images


@pytest.mark.parametrize("kind, area", [("deletion", 1), ("insertion", 31)])
def test_a_right_map_is_followed_by_the_probability(
    kind: str, area: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The class is read from one cell of 16, so its probability changes with the first step."""
    model, images = one_cell(monkeypatch)
    right = torch.zeros(2, 4, 4)
    right[0, 0, 0] = right[1, 3, 3] = 1.0
    right[0, 3, 3] = right[1, 0, 0] = -1.0  # the other class's cell is removed last
    curve = perturbation_curve(model, images, right, [0, 1], kind=kind, steps=16)  # type: ignore[arg-type]
    low, high = 1 / (1 + math.exp(10)), 1 / (1 + math.exp(-10))
    inner = low if kind == "deletion" else high
    expected = torch.tensor([0.5, *[inner] * 15, 0.5])
    assert torch.allclose(curve.probabilities, expected[:, None].expand(-1, 2))
    assert torch.allclose(curve.area, torch.trapezoid(expected, torch.linspace(0, 1, 17)))
    wrong = perturbation_curve(model, images, -right, [0, 1], kind=kind, steps=16)  # type: ignore[arg-type]
    assert bool(((wrong.area - curve.area) * (1 if kind == "deletion" else -1) > 0.5).all())


def test_equal_values_are_removed_in_random_order() -> None:
    first = _ranks_from_highest(torch.zeros(1, 8, 8), 0)
    second = _ranks_from_highest(torch.zeros(1, 8, 8), 1)
    assert sorted(first.flatten().tolist()) == list(range(64))
    assert not torch.equal(first, second)
    assert abs(float(rank_correlation(first, second))) < 0.4


def test_what_ignores_the_weights_fails_the_randomization_check() -> None:
    @register_explanation("edges")
    def edges(model: Backbone, images: Tensor) -> Tensor:
        return images.mean(1)[:, ::8, ::8].abs()

    model, images = small("ViT"), images_for(small("ViT"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    assert torch.allclose(randomization_check(model, images, "edges"), torch.ones(len(images)))
    correlation = randomization_check(model, images, "relevance")
    assert bool((correlation < 0.9).all())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    results = compare_explanations(model, images, ["edges", "relevance"], steps=4)
    assert [each.explanation for each in results] == ["edges", "relevance", "random"]
    assert not results[0].depends_on_weights and results[-1].correlation is None


def test_rank_correlation_is_spearmans() -> None:
    stats = pytest.importorskip("scipy.stats")
    first, second = torch.randn(3, 5, 4).relu(), torch.randn(3, 5, 4).relu()
    expected = [
        stats.spearmanr(a.flatten(), b.flatten())[0] for a, b in zip(first, second, strict=True)
    ]
    result = rank_correlation(first, second)
    torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float32))
    assert rank_correlation(torch.ones(1, 4, 4), torch.rand(1, 4, 4)).item() == 0


def test_boxes() -> None:
    maps = torch.zeros(2, 4, 4)
    maps[:, 1, 2] = 3.0
    maps[:, 0, 0] = 1.0
    boxes = [(0.5, 0.25, 0.75, 0.5), (0.0, 0.0, 0.25, 0.125)]
    assert pointing_game(maps, boxes).tolist() == [True, False]
    assert torch.allclose(mass_inside(maps, boxes), torch.tensor([0.75, 0.125]))
    with pytest.raises(ConfigError, match="1 boxes for 2 maps"):
        pointing_game(maps, boxes[:1])
    with pytest.raises(ConfigError, match=r"is not \(left, top, right, bottom\)"):
        mass_inside(maps, [(0.5, 0.0, 0.25, 1.0)] * 2)


@pytest.mark.parametrize("name", ["ViT", "VisionMamba", "Swin", "PVTv2"])
def test_every_kind_of_model_can_be_compared(name: str) -> None:
    model = small(name)
    results = compare_explanations(model, images_for(model), steps=2)
    names = {each.explanation for each in results}
    assert "grad_cam" in names and "random" in names
    assert ("relevance" in names) == (name in ("ViT", "VisionMamba"))
    assert all(bool(each.deletion.isfinite().all()) for each in results)


def test_what_cannot_be_tested_is_said() -> None:
    with pytest.raises(TierError, match="has no classes"):
        compare_explanations(small("ViT", num_classes=0), torch.zeros(1, 3, 32, 32))
    model = small("ViT")
    with pytest.raises(ConfigError, match="not one per image"):
        perturbation_curve(model, torch.zeros(2, 3, 32, 32), torch.zeros(1, 4, 4))
    with pytest.raises(ConfigError, match="the maps hold NaN"):
        perturbation_curve(model, torch.zeros(1, 3, 32, 32), torch.full((1, 4, 4), math.nan))
    assert vitrail.lens.compare_explanations is compare_explanations


def test_one_image_proves_nothing() -> None:
    better = Faithfulness("a", torch.zeros(1), torch.ones(1), torch.zeros(1))
    random = Faithfulness("random", torch.full((1,), 0.5), torch.full((1,), 0.5), None)
    assert not summarize_results([better, random])[0]["beats_random"]
    several = [each._replace(deletion=each.deletion.repeat(3), insertion=each.insertion.repeat(3))
               for each in (better, random)]  # fmt: skip
    assert summarize_results(several)[0]["beats_random"]
    noisy = several[0]._replace(insertion=torch.tensor([1.0, 0.4, 0.3]), deletion=torch.zeros(3))
    luck = several[1]._replace(insertion=torch.full((3,), 0.5), deletion=torch.zeros(3))
    assert not summarize_results([noisy, luck])[0]["beats_random"], "within two standard errors"
