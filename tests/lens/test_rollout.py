"""Attention rollout is the paper's formula."""

import pytest
import torch

from tests.models.small import images_for, small
from vitrail.errors import ConfigError, TierError
from vitrail.lens.record import record
from vitrail.lens.rollout import rollout


def test_a_case_by_hand() -> None:
    """Abnar & Zuidema 2020, section 3: Ã = ½ A + ½ I, and rollout of layer l is Ã_l · rollout_l-1.

    Layer 1: both tokens attend to the first. Layer 2: both attend to the second.
    Ã_1 = [[1, 0], [½, ½]], Ã_2 = [[½, ½], [0, 1]], and Ã_2 Ã_1 = [[¾, ¼], [½, ½]].
    """
    first = torch.tensor([[1.0, 0.0], [1.0, 0.0]])[None, None]
    second = torch.tensor([[0.0, 1.0], [0.0, 1.0]])[None, None]
    torch.testing.assert_close(
        rollout([first, second])[0], torch.tensor([[0.75, 0.25], [0.5, 0.5]])
    )


def test_heads_are_fused_before_the_residual() -> None:
    """Two heads that disagree: max and min are normalized again, so that rows sum to 1."""
    maps = torch.tensor([[[0.8, 0.2], [0.5, 0.5]], [[0.4, 0.6], [0.5, 0.5]]])[None]
    for fusion, row in (
        ("mean", [0.6, 0.4]),
        ("max", [0.8 / 1.4, 0.6 / 1.4]),
        ("min", [0.4 / 0.6, 0.2 / 0.6]),
    ):
        flow = rollout([maps], fusion=fusion, residual=0.0)  # type: ignore[arg-type]
        torch.testing.assert_close(flow[0, 0], torch.tensor(row))
    mixed = rollout([maps], residual=0.25)
    torch.testing.assert_close(mixed[0, 0], torch.tensor([0.25 + 0.75 * 0.6, 0.75 * 0.4]))


def test_rollout_is_the_product_of_layers() -> None:
    maps = [torch.rand(1, 2, 5, 5).softmax(-1) for _ in range(3)]
    flow = rollout(maps)
    torch.testing.assert_close(flow.sum(-1), torch.ones(1, 5))
    expected = torch.eye(5)
    for weights in maps:
        expected = (0.5 * torch.eye(5) + 0.5 * weights[0].mean(0)) @ expected
    torch.testing.assert_close(flow[0], expected)
    torch.testing.assert_close(rollout(maps, residual=1.0)[0], torch.eye(5))


def test_what_cannot_be_followed() -> None:
    maps = [torch.rand(1, 2, 5, 5).softmax(-1) for _ in range(3)]
    with pytest.raises(ConfigError, match="fusion='sum'"):
        rollout(maps, fusion="sum")  # type: ignore[arg-type]
    with pytest.raises(TierError, match="the same tokens in every layer; one has 4 after 5"):
        rollout([*maps, torch.rand(1, 2, 4, 4)])
    with pytest.raises(TierError, match="3 queries attend to 5 keys"):
        rollout([torch.rand(1, 2, 3, 5)])


def test_what_record_gives_is_followed() -> None:
    model = small("ViT").eval()
    with record(model) as maps:
        model(images_for(model))
    assert torch.equal(rollout(maps), rollout(list(maps.values())))
