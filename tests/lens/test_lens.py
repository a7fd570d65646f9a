"""Looking changes nothing, and shows what is there."""

from pathlib import Path

import pytest
import torch

import vitrail
from tests.models.small import small
from vitrail.errors import ConfigError, TierError
from vitrail.layers.attention import Attend
from vitrail.lens.features import pca_colours, stretch
from vitrail.lens.plots import panels
from vitrail.lens.record import AttentionTrace, observe, patch_maps, record
from vitrail.lens.rollout import rollout
from vitrail.lens.shapes import shapes
from vitrail.models.base import Features

IMAGES = torch.linspace(-2, 2, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32).sin()


def taps(model: torch.nn.Module) -> list[object]:
    return [m.tap for m in model.modules() if isinstance(m, Attend)]


def test_looking_does_not_change_a_bit() -> None:
    model = small("ViT")
    expected = model(IMAGES)
    with record(model):
        assert torch.equal(model(IMAGES), expected)
    with torch.no_grad():
        assert torch.equal(AttentionTrace(model, IMAGES).logits, expected)


def test_taps_are_removed_even_after_an_error() -> None:
    model = small("ViT")
    with pytest.raises(ZeroDivisionError), record(model):
        1 / 0
    assert taps(model) == [None] * 3


def test_one_may_look_while_another_looks() -> None:
    model = small("ViT")
    with record(model) as outer:
        with record(model, layers=[1]) as inner:
            model(IMAGES)
        assert None not in taps(model)
    assert (sorted(outer), sorted(inner)) == ([0, 2], [1])
    assert taps(model) == [None] * 3


def test_chosen_layers_and_heads_only_and_unknown_ones_are_named() -> None:
    model = small("ViT")
    with record(model) as everything, torch.no_grad():
        model(IMAGES)
    with record(model, layers=[-1, 0], heads=[1]) as maps:
        model(IMAGES)
    assert sorted(maps) == [0, 2]
    torch.testing.assert_close(maps[2], everything[2][:, 1:2])
    with (
        pytest.raises(ConfigError, match="attention layer 3 is not there: there are 0 to 2"),
        record(model, layers=[3]),
    ):
        pass
    with (
        pytest.raises(ConfigError, match="head -3 is not there: there are 0 to 1"),
        record(model, heads=[-3]),
    ):
        model(IMAGES)
    with pytest.raises(TierError, match="Linear has no attention"), record(torch.nn.Linear(1, 1)):
        pass


@pytest.mark.parametrize("name", ["ViT", "SimpleViT", "DeiT", "VisionMamba"])
def test_a_look_is_what_was_recorded(name: str) -> None:
    """With and without prefix tokens. A look keeps no (N, N) weights, only what is drawn."""
    model = small(name)
    with record(model) as maps, torch.no_grad():
        features = model.features(IMAGES)
    look = AttentionTrace(model, IMAGES)
    prefix = features.prefix.shape[1]
    for layer in range(3):
        expected = patch_maps(maps[layer], (4, 4), prefix)
        torch.testing.assert_close(look.attention[layer], expected)
        assert look.attention[layer].shape == (2, 2, 4, 4)
    flow = rollout([maps[n] for n in range(3)])
    torch.testing.assert_close(look.rollout, patch_maps(flow, (4, 4), prefix))
    torch.testing.assert_close(look.features.patches, features.patches)


def test_a_scan_sees_what_came_before_it() -> None:
    """The class token stands in the middle of 16 patches: each scan has seen one half."""
    model = small("VisionMamba")
    look = AttentionTrace(model, IMAGES)
    assert look.names[0] == ("scan from the start", "scan from the end")
    from_start, from_end = look.attention[0][0].flatten(1)
    assert (from_start[:8] > 0).all()
    assert not from_start[8:].any()
    assert (from_end[8:] > 0).all()
    assert not from_end[:8].any()


def test_a_map_shows_where_a_token_looks() -> None:
    weights = torch.zeros(1, 2, 7, 7)
    weights[0, :, 0, 1 + 4] = 1.0  # the class token looks at the fifth patch of 2 x 3
    weights[0, :, 1:, 1 + 0] = 0.5  # all patches look at the first
    weights[0, :, 1 + 3, 1 + 2] = 0.25  # that of row 1, column 0 looks at the third, too
    looks = patch_maps(weights, (2, 3), prefix=1)
    assert looks.shape == (1, 2, 2, 3)
    assert looks[0, 0].tolist() == [[0, 0, 0], [0, 1, 0]]
    assert torch.equal(looks, patch_maps(weights, (2, 3), 1, "class"))
    mean = patch_maps(weights, (2, 3), 1, "mean")[0, 0]
    torch.testing.assert_close(mean, torch.tensor([[0.5, 0, 0.25 / 6], [0, 0, 0]]))
    one = patch_maps(weights, (2, 3), 1, (1, 0))[0, 0]
    torch.testing.assert_close(one, torch.tensor([[0.5, 0, 0.25], [0, 0, 0]]))
    assert torch.equal(one, patch_maps(weights, (2, 3), 1, (-1, -3))[0, 0])


def test_a_token_that_is_not_there_is_named() -> None:
    weights = torch.rand(1, 2, 6, 6)
    with pytest.raises(ConfigError, match="no class token"):
        patch_maps(weights, (2, 3), 0, "class")
    with pytest.raises(ConfigError, match="row or column 3 is not there: there are 0 to 2"):
        patch_maps(weights, (2, 3), 0, (0, 3))
    for query in ("dog", (1,)):
        with pytest.raises(ConfigError, match=r"query=.* is not"):
            patch_maps(weights, (2, 3), 0, query)


def test_rollout_is_the_product_of_layers() -> None:
    maps = [torch.rand(1, 2, 5, 5).softmax(-1) for _ in range(3)]
    flow = rollout(maps)
    torch.testing.assert_close(flow.sum(-1), torch.ones(1, 5))
    expected = torch.eye(5)
    for weights in maps:
        expected = (0.5 * torch.eye(5) + 0.5 * weights[0].mean(0)) @ expected
    torch.testing.assert_close(flow[0], expected)
    for fusion in ("max", "min"):
        fused = rollout(maps, fusion=fusion)
        assert not torch.allclose(fused, flow)
        torch.testing.assert_close(fused.sum(-1), torch.ones(1, 5))
    torch.testing.assert_close(rollout(maps, residual=1.0)[0], torch.eye(5))
    with pytest.raises(ConfigError, match="fusion='sum'"):
        rollout(maps, fusion="sum")
    with pytest.raises(TierError, match="the same tokens in every layer; one has 4 after 5"):
        rollout([*maps, torch.rand(1, 2, 4, 4)])


def test_colours_tell_groups_apart_and_repeat() -> None:
    groups = torch.randint(0, 2, (2, 16))
    patches = torch.randn(2, 16, 8) * 0.01 + groups[..., None] * torch.linspace(-1, 1, 8)
    features = Features(patches, patches[:, :0], (4, 4))
    colours = pca_colours(features)
    assert (colours.shape, colours.dtype) == ((2, 4, 4, 3), torch.uint8)
    red = colours[..., 0].flatten(1).float()
    assert (red[groups == 0].mean() - red[groups == 1].mean()).abs() > 200
    assert torch.equal(colours, pca_colours(features))
    swapped = pca_colours(Features(patches.flip(0), patches[:, :0], (4, 4))).flip(0)
    assert (swapped.int() - colours.int()).abs().max() <= 1, "colours mean the same in a batch"


def test_colours_are_principal_components() -> None:
    """Against the singular vectors; signs are free."""
    patches = torch.randn(1, 100, 12) * torch.linspace(3, 0.1, 12)
    colours = pca_colours(Features(patches, patches[:, :0], (10, 10))).reshape(100, 3)
    left, _, _ = torch.linalg.svd(patches[0] - patches[0].mean(0), full_matrices=False)
    for channel in range(3):
        pair = torch.stack([stretch(left[:, channel]), colours[:, channel] / 255])
        assert torch.corrcoef(pair)[0, 1].abs() > 0.999


def test_a_component_that_is_not_there_stays_black() -> None:
    line = torch.linspace(-1, 1, 16)[:, None] * torch.ones(8)  # one direction only
    for width in (8, 2):
        patches = line[None, :, :width]
        colours = pca_colours(Features(patches, patches[:, :0], (4, 4)))
        assert colours[..., 0].float().std() > 50
        assert not colours[..., 1:].any()
    flat = torch.ones(1, 16, 8)
    assert not pca_colours(Features(flat, flat[:, :0], (4, 4))).any()


def test_the_background_is_black_if_asked() -> None:
    grid = torch.zeros(6, 6)
    grid[2:4, 2:4] = torch.tensor([[1.0, 1.2], [0.8, 1.0]])
    for sign in (-1, 1):  # whichever way the first component points
        patches = torch.randn(1, 36, 8) * 0.01 + sign * grid.reshape(1, 36, 1)
        features = Features(patches, patches[:, :0], (6, 6))
        coloured = pca_colours(features, foreground=0.5).any(-1)[0]
        assert not coloured[grid == 0].any()
        assert coloured.sum() >= 3  # the lowest on all three components may be black
    video = Features(patches, patches[:, :0], (1, 6, 6))
    with pytest.raises(TierError, match=r"this grid is \(1, 6, 6\)"):
        pca_colours(video, foreground=0.5)


def test_multiply_adds_are_as_published() -> None:
    # As timm's tables give them; they add the norms' and activations' few.
    for name, billions in (
        ("vit_tiny_patch16_224", 1.26),
        ("vit_base_patch16_224", 17.58),
        ("dinov2_small", 46.76),  # at 518 pixels
        ("vim_tiny", 1.554),  # the paper says 1.5, a scan counted as in VMamba's tables
    ):
        stages = shapes(vitrail.create_model(name))
        assert stages[-1].multiply_adds / 1e9 == pytest.approx(billions, rel=0.01)
        assert stages[-1].parameters == sum(s.parameters for s in stages[:-1])
        assert stages[-1].multiply_adds == sum(s.multiply_adds for s in stages[:-1])
    assert shapes(vitrail.create_model("vit_tiny_patch16_224"), (32, 64))[1].shape == (
        "1 + 2 x 4 tokens x 192"
    )


def test_every_stage_counts_as_its_formula() -> None:
    stages = {s.name: s for s in shapes(small("ViT"))}
    tokens, dim, hidden = 16 + 1, 32, 48
    assert stages["embed"].multiply_adds == 16 * (3 * 8 * 8) * dim
    linear = tokens * dim * (3 * dim + dim + 2 * hidden)
    attention = 2 * tokens * tokens * dim
    assert stages["block 1"].multiply_adds == linear + attention
    assert stages["head"].multiply_adds == dim * 5
    assert stages["block 2"].shape == "17 x 32"
    assert stages["norm"].parameters == 2 * dim


def test_shapes_cost_no_memory() -> None:
    """The largest variant is looked at without its two and a half gigabytes."""
    with torch.device("meta"):
        model = vitrail.create_model("vit_huge_patch14_224")
    assert shapes(model)[-1].parameters == pytest.approx(632e6, rel=0.01)


def test_a_look_in_half_precision_is_drawn(tmp_path: Path) -> None:
    from vitrail.lens.plots import look_figure

    look = AttentionTrace(small("ViT").bfloat16(), IMAGES.bfloat16())
    look_figure(torch.zeros(3, 32, 32, dtype=torch.uint8), look).savefig(tmp_path / "x.png", dpi=20)


def test_models_without_a_map_of_attention_show_their_stages() -> None:
    images = torch.rand(2, 3, 32, 32)
    stages = observe(small("Swin"), images)
    assert [f.grid for f in stages] == [(16, 16), (8, 8), (4, 4)]
    rows = panels(torch.zeros(3, 32, 32, dtype=torch.uint8), stages, index=1)
    captions = ["image", *(f"stage {i}, {n} × {n} (PCA)" for i, n in ((1, 16), (2, 8), (3, 4)))]
    assert [panel.caption for panel in rows[0]] == captions
    assert isinstance(observe(small("ViT"), images), AttentionTrace)
