"""Pictures show what the numbers say."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.small import small
from vitrail.errors import ConfigError, TierError
from vitrail.lens import figures, pictures, plots
from vitrail.lens.curves import training_curves
from vitrail.lens.features import ColorBasis, pca_colors
from vitrail.lens.flat import cells
from vitrail.lens.position import position_baseline
from vitrail.lens.trace import AttentionTrace, StageFeatures, observe, trace_attention


def traced(name: str, channels: int = 3) -> tuple[torch.Tensor, AttentionTrace]:
    image = torch.randint(0, 256, (channels, 32, 32), dtype=torch.uint8)
    return image, trace_attention(small(name, channels=channels), image[None].float() / 255)


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_a_look_is_drawn_for_every_model(channels: int, tmp_path: Path) -> None:
    heads, parts = {"VisionMamba": "scan from the end"}, {"VisionMamba": "scans"}
    for name in ("ViT", "SimpleViT", "DeiT", "VisionMamba"):
        head = heads.get(name, "head 1")
        image, trace = traced(name, channels)
        figure = plots.attention_figure(
            image, trace, layers=[0, 2], heads=[1], title="costs_$5 and $6.jpg", origin="nowhere"
        )
        titles = [axis.get_title(loc="left") for axis in figure.axes]
        assert titles == [
            "image, 4 × 4 patches", f"layer 2, mean of {parts.get(name, 'heads')}",
            "rollout, all layers",
            "patch features (PCA)", f"layer 0, {head}", f"layer 2, {head}",
        ]  # fmt: skip
        words = {t.get_text() for t in figure.texts}
        query = "all patches on average" if name == "SimpleViT" else "the class token"
        subtitle = f"Attention of {query} to each patch."
        assert {"costs_$5 and $6.jpg", "nowhere", subtitle} <= words
        weights = trace.attention[2][0, 1]
        assert f"{weights.max().item():.3g}" in words, "at the end of the color bar"
        assert plots.map_numbers(weights).lines[0] in words
        figure.savefig(tmp_path / "look.png", dpi=30)
        assert (tmp_path / "look.png").stat().st_size > 1000


def test_each_picture_is_what_its_caption_says() -> None:
    image, trace = traced("ViT")
    large = pictures.enlarge(image)
    first, *others = plots.panels(image, trace, layers=[0, 2])
    assert np.array_equal(first[1].pixels, pictures.heat_map(large, trace.attention[2][0].mean(0)))
    assert np.array_equal(first[2].pixels, pictures.heat_map(large, trace.rollout[0]))
    for layer, row in zip((0, 2), others, strict=True):
        for head, panel in enumerate(row):
            assert panel.caption == f"layer {layer}, head {head}"
            expected = pictures.heat_map(large, trace.attention[layer][0, head])
            assert np.array_equal(panel.pixels, expected)


def test_pictures_of_a_figure_do_not_overlap() -> None:
    image, trace = traced("ViT")
    trace.attention = [maps.repeat(1, 8, 1, 1) for maps in trace.attention]  # 16 heads
    figure = plots.attention_figure(image[:, :16], trace, layers=[0, 1], title="t", origin="o")
    boxes = [axis.get_position() for axis in figure.axes]
    assert len(boxes) == 4 + 2 * 16
    assert len({round(box.y0, 4) for box in boxes[4:]}) == 4, "16 heads stand in two rows of 8"
    for i, a in enumerate(boxes):
        assert 0 <= a.x0 < a.x1 <= 1
        assert 0 <= a.y0 < a.y1 <= 1
        for b in boxes[:i]:
            assert a.x1 <= b.x0 or b.x1 <= a.x0 or a.y1 <= b.y0 or b.y1 <= a.y0


def test_unknown_heads_and_layers_are_named() -> None:
    image, trace = traced("ViT")
    with pytest.raises(ConfigError, match="head 2 does not exist: there are 0 to 1"):
        plots.panels(image, trace, heads=[2])
    with pytest.raises(ConfigError, match="attention layer 3 does not exist"):
        plots.panels(image, trace, layers=[3])
    trace.features = trace.features._replace(grid=(1, 4, 4))
    with pytest.raises(TierError, match=r"patches \(1, 4, 4\) cannot be drawn over 2 axes"):
        plots.panels(image, trace)


def test_heat_glows_where_the_weight_is() -> None:
    image = torch.full((3, 64, 32), 128, dtype=torch.uint8)
    weights = torch.full((4, 2), 0.01)
    weights[2, 1] = 1.0
    drawn = pictures.heat_map(image, weights)
    assert drawn.shape == (64, 32, 3)
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert drawn[40, 24].sum() > 2 * drawn[8, 8].sum()


def test_patches_are_drawn_one_by_one() -> None:
    for count in (4, 16):
        image = torch.full((1, 96, 96), 128, dtype=torch.uint8)
        drawn = pictures.heat_map(image, torch.rand(count, count))
        side = 96 // count
        cells = drawn.reshape(count, side, count, side, 3)
        assert np.ptp(cells, axis=(1, 3)).max() < 1e-6, "one color a patch"


def test_one_outlier_is_told_apart_from_the_rest() -> None:
    """It stretches the scale, which the color bar says; no weight is cut off."""
    weights = torch.linspace(0, 1, 400).reshape(20, 20)
    weights[0, 0] = 1000.0
    drawn = pictures.heat_map(torch.zeros(3, 80, 80, dtype=torch.uint8), weights)
    assert drawn[0, 0].sum() > 5 * drawn[78, 40].sum()


def test_a_uniform_map_has_one_color() -> None:
    image = torch.full((3, 32, 32), 128, dtype=torch.uint8)
    drawn = pictures.heat_map(image, torch.full((4, 4), 0.0625))
    assert np.ptp(drawn, axis=(0, 1)).max() == 0


def test_heads_may_share_a_scale() -> None:
    image, trace = traced("ViT")
    _, *own = plots.panels(image, trace, layers=[0, 2])
    _, *shared = plots.panels(image, trace, layers=[0, 2], scale="shared")
    scales = {panel.scale for row in shared for panel in row}
    largest = max(trace.attention[layer][0].max().item() for layer in (0, 2))
    assert scales == {(0.0, largest)}
    assert len({panel.scale for row in own for panel in row}) == 4
    with pytest.raises(ConfigError, match="scale='all' is not one of"):
        plots.panels(image, trace, scale="all")  # type: ignore[arg-type]


def test_smoothing_is_said_in_the_caption() -> None:
    image, trace = traced("ViT")
    rows = plots.panels(image, trace, smooth=True)
    captions = [panel.caption for row in rows for panel in row if panel.scale]
    assert len(captions) == 4 and all(caption.endswith(", smoothed") for caption in captions)


def test_a_baseline_stands_beside_its_map_on_the_same_scale() -> None:
    image, trace = traced("VisionMamba")
    model = small("VisionMamba")
    baseline = position_baseline(model, image[None].float() / 255, trace)
    _, row = plots.panels(image, trace, baseline=baseline)
    maps, positions = row[::2], row[1::2]
    for own, positional in zip(maps, positions, strict=True):
        assert own.scale == positional.scale
        assert positional.caption == f"{own.caption}: patches shuffled"
        assert re.fullmatch(r"explains \d+% of the map itself", positional.numbers[0])


def test_colors_of_an_image_alone_and_of_all() -> None:
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    trace = trace_attention(small("ViT"), images.float() / 255)
    first = plots.panels(images[1], trace, index=1)[0]
    assert [p.caption for p in first[3:]] == [
        "patch features (PCA of this image)",
        "patch features (PCA of all images)",
    ]
    features = trace.features
    alone = pca_colors(features, across=False)[1]
    assert np.array_equal(first[3].pixels, cells(images[1], alone))
    assert np.array_equal(first[4].pixels, cells(images[1], pca_colors(features)[1]))
    basis = ColorBasis.of(features._replace(patches=features.patches[:1]))
    shared = plots.panels(images[1], trace, index=1, colors=basis)[0][4]
    assert np.array_equal(shared.pixels, cells(images[1], basis.colors(features)[1]))


def test_the_queried_patch_is_marked_and_named() -> None:
    image, _ = traced("ViT")
    batch = image[None].float() / 255
    trace = trace_attention(small("ViT"), batch, query=(1, 3))
    plain = trace_attention(small("ViT"), batch)
    marked = plots.panels(image, trace)[0][0].pixels
    changed = np.argwhere((marked != plots.panels(image, plain)[0][0].pixels).any(2))
    assert changed.min(0).tolist() == [55, 167] and changed.max(0).tolist() == [112, 223]
    assert plots.query_text(trace) == "Attention of the patch in row 1, column 3 to each patch."
    incoming = trace_attention(small("ViT"), batch, query="mean", incoming=True)
    assert plots.query_text(incoming) == "Attention of each patch to all patches on average."


def test_a_figure_may_be_dark() -> None:
    panel = figures.Panel("black", np.zeros((2, 2, 3)))
    light, dark = (figures.panel_figure([[panel]], dark=choice) for choice in (False, True))
    assert sum(light.get_facecolor()[:3]) > 2.8 and sum(dark.get_facecolor()[:3]) < 0.5


def test_small_images_are_enlarged_by_whole_pixels() -> None:
    image = torch.randint(0, 256, (1, 28, 28), dtype=torch.uint8)
    large = pictures.enlarge(image)
    assert large.shape == (1, 224, 224)
    assert torch.equal(large[:, ::8, ::8], image)
    assert pictures.enlarge(large) is large


def test_heads_stand_in_even_rows() -> None:
    counts = (1, 3, 6, 8, 12, 16, 20)
    assert [figures.columns_per_row(n, 4) for n in counts] == [4, 4, 6, 8, 6, 8, 7]


def lines(count: int) -> list[dict[str, float | str]]:
    return [
        {"split": "train", "epoch": i / 10, "loss": 2 + (-1) ** i, "lr": 0.001 * i}
        for i in range(count)
    ]


def test_curves_draw_what_there_is() -> None:
    validation = {"split": "val", "epoch": 1.0, "loss": 0.5, "top1": 0.75}
    loss, accuracy, rate = training_curves([*lines(10), validation])
    assert [a.get_title(loc="left") for f in (loss, accuracy, rate) for a in f.axes] == [
        "loss of the method", "accuracy, %", "learning rate",
    ]  # fmt: skip
    assert [t.get_text() for t in loss.axes[0].texts] == ["0.500"]
    assert [t.get_text() for t in accuracy.axes[0].texts] == ["75.0"]
    assert rate.axes[0].get_lines()[0].get_ydata()[-1] == pytest.approx(0.009)
    assert len(training_curves(lines(1))) == 2
    assert training_curves([]) == []


def test_a_noisy_curve_gets_a_running_mean_and_nan_is_left_out() -> None:
    broken = {"split": "train", "epoch": 99.0, "loss": math.nan, "lr": 0.1}
    loss, _ = training_curves([*lines(100), broken])
    raw, mean = loss.axes[0].get_lines()
    assert len(raw.get_xdata()) == len(mean.get_xdata()) == 100
    assert np.ptp(raw.get_ydata()) == 2
    assert np.ptp(mean.get_ydata()[10:]) < 0.5
    window = raw.get_ydata()
    assert mean.get_ydata()[0] == window[0]
    assert mean.get_ydata()[1] == pytest.approx(window[:2].mean())
    assert mean.get_ydata()[50] == pytest.approx(window[46:51].mean())


def test_a_trace_in_half_precision_is_drawn(tmp_path: Path) -> None:
    images = torch.rand(2, 3, 32, 32).bfloat16()
    trace = trace_attention(small("ViT").bfloat16(), images)
    figure = plots.attention_figure(torch.zeros(3, 32, 32, dtype=torch.uint8), trace)
    figure.savefig(tmp_path / "x.png", dpi=20)


def test_stages_are_drawn_where_there_are_no_attention_maps() -> None:
    stages = observe(small("Swin"), torch.rand(2, 3, 32, 32))
    rows = plots.panels(torch.zeros(3, 32, 32, dtype=torch.uint8), stages, index=1)
    captions = ["image", *(f"stage {i}, {n} × {n} (PCA)" for i, n in ((1, 16), (2, 8), (3, 4)))]
    assert [panel.caption for panel in rows[0]] == captions
    assert isinstance(stages, StageFeatures)
    assert stages.reason.startswith("Swin: a layer attends within 16 windows of 16 tokens")


@pytest.mark.parametrize("sentence", ["Attention of a patch. " * 15, "注意力图的说明文字，" * 25])
def test_long_sentences_stay_within_a_figure(sentence: str) -> None:
    """Chinese letters are twice as wide, and there are no spaces between them."""
    panel = figures.Panel("map", np.zeros((8, 8, 3)))
    figure = figures.panel_figure([[panel]], title="猫", subtitle=sentence)
    for text in figure.texts:
        box = text.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width, text.get_text()
    lines = [text.get_text() for text in figure.texts][1:]
    assert len(lines) > 1 and "".join(lines).replace(" ", "") == sentence.replace(" ", "")
