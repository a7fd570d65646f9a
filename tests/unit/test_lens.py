"""Looking changes nothing, and shows what is there."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import vitrail
from tests.contracts.small import small
from vitrail.data.preprocess import Preprocess
from vitrail.errors import ConfigError, TierError
from vitrail.layers.attend import Attend
from vitrail.lens import plots
from vitrail.lens.features import pca_colours
from vitrail.lens.record import Look, record, to_grid
from vitrail.lens.report import write_report
from vitrail.lens.rollout import rollout
from vitrail.lens.shapes import shapes
from vitrail.models.base import Features


def test_taps_are_removed_even_after_an_error() -> None:
    model = small("ViT")
    with pytest.raises(ZeroDivisionError), record(model):
        1 / 0
    assert all(m.tap is None for m in model.modules() if isinstance(m, Attend))


def test_chosen_layers_only_and_unknown_ones_are_named() -> None:
    model = small("ViT")
    with record(model, layers=[-1, 0]) as maps:
        model(torch.randn(1, 3, 32, 32))
    assert sorted(maps) == [0, 2]
    with (
        pytest.raises(ConfigError, match="layer 3 is not there: attention layers are 0 to 2"),
        record(model, layers=[3]),
    ):
        pass
    with pytest.raises(TierError, match="Linear has no attention"), record(torch.nn.Linear(1, 1)):
        pass


def test_a_map_shows_where_the_class_token_looks() -> None:
    weights = torch.zeros(1, 2, 7, 7)
    weights[0, :, 0, 1 + 4] = 1.0  # the class token looks at the fifth patch of 2 x 3
    grid = to_grid(weights, (2, 3), prefix=1)
    assert grid.shape == (1, 2, 2, 3)
    assert grid[0, 0, 1, 1] == 1.0


def test_rollout_is_the_product_of_layers() -> None:
    maps = [torch.rand(1, 2, 5, 5).softmax(-1) for _ in range(3)]
    flow = rollout(maps)
    torch.testing.assert_close(flow.sum(-1), torch.ones(1, 5))
    expected = torch.eye(5)
    for weights in maps:
        expected = (0.5 * torch.eye(5) + 0.5 * weights[0].mean(0)) @ expected
    torch.testing.assert_close(flow[0], expected)
    assert not torch.equal(rollout(maps, fusion="max"), flow)
    torch.testing.assert_close(rollout(maps, residual=1.0)[0], torch.eye(5))
    with pytest.raises(ConfigError, match="fusion='sum'"):
        rollout(maps, fusion="sum")


def test_colours_tell_groups_apart_and_repeat() -> None:
    groups = torch.randint(0, 2, (2, 16))
    patches = torch.randn(2, 16, 8) * 0.01 + groups[..., None] * torch.linspace(-1, 1, 8)
    features = Features(patches, patches[:, :0], (4, 4))
    colours = pca_colours(features)
    assert (colours.shape, colours.dtype) == ((2, 4, 4, 3), torch.uint8)
    red = colours[..., 0].flatten(1).float()
    assert (red[groups == 0].mean() - red[groups == 1].mean()).abs() > 200
    assert torch.equal(colours, pca_colours(features))


def test_multiply_adds_are_as_published() -> None:
    # As timm's tables give them; they add the norms' and activations' few.
    for name, billions in (("vit_tiny_patch16_224", 1.26), ("vit_base_patch16_224", 17.58)):
        stages = shapes(vitrail.create_model(name))
        assert stages[-1].multiply_adds / 1e9 == pytest.approx(billions, rel=0.01)
        assert stages[-1].parameters == sum(s.parameters for s in stages[:-1])
        assert stages[-1].multiply_adds == sum(s.multiply_adds for s in stages[:-1])
    assert shapes(vitrail.create_model("vit_tiny_patch16_224"), (32, 64))[1].shape == (
        "1 + 2 x 4 tokens x 192"
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_a_look_is_drawn_for_every_model(channels: int, tmp_path: Path) -> None:
    for name in ("ViT", "SimpleViT", "DeiT"):
        model = small(name, channels=channels)
        image = torch.randint(0, 256, (channels, 32, 32), dtype=torch.uint8)
        look = Look(model, image[None].float() / 255)
        figure = plots.look_figure(
            image, look, layers=[0, 2], heads=[1], title=name, origin="nowhere"
        )
        titles = [axis.get_title(loc="left") for axis in figure.axes]
        assert "layer 0, head 1" in titles
        assert "layer 2, mean of heads" in titles
        figure.savefig(tmp_path / "look.png", dpi=30)
        assert (tmp_path / "look.png").stat().st_size > 1000


def test_heat_glows_where_the_weight_is() -> None:
    weights = torch.zeros(4, 4)
    weights[1, 2] = 1.0
    drawn = plots.heat(torch.full((3, 32, 32), 128, dtype=torch.uint8), weights)
    assert drawn[12, 20].sum() > 2 * drawn[28, 4].sum()


def finished_run(folder: Path) -> Path:
    model = small("ViT", num_classes=2)
    model.preprocess = Preprocess((32, 32), None, "bilinear")
    model.labels, model.origin = ["<b>cat</b>", "dog"], "a test"
    vitrail.save(model, folder / "model")
    lines = [
        {"step": 1, "epoch": 0.5, "split": "train", "loss": 1.0, "lr": 0.1, "top1": 0.5},
        {"step": 2, "epoch": 1.0, "split": "val", "loss": 0.9, "top1": 0.75, "top5": 1.0},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "timing.jsonl").write_text('{"step": 1, "seconds": 60, "images_per_second": 5}\n')
    entry = {"image": 0, "truth": 0, "predicted": 1, "confidence": 0.9, "name": "cat/1.jpg"}
    evaluation = {
        "split": "folder test", "weights": "last step", "count": 4, "top1": 0.75, "top5": 1.0,
        "loss": 0.9, "labels": model.labels, "confusion": [[1, 1], [0, 2]], "per_class": [0.5, 1.0],
        "mistakes": [entry], "examples": [{**entry, "image": 1}],
    }  # fmt: skip
    (folder / "evaluation.json").write_text(json.dumps(evaluation))
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    save_file({"images": images}, folder / "evaluation.safetensors")
    (folder / "run.yaml").write_text("model: {name: ViT}\n")
    (folder / "command.txt").write_text("vitrail train folder:pets\n")
    return folder


def test_a_report_holds_everything_and_needs_nothing(tmp_path: Path) -> None:
    page = write_report(finished_run(tmp_path)).read_text()
    for words in ("75.00 %", "1.0 min", "cat/1.jpg", "vitrail train folder:pets", "a test", "<svg"):
        assert words in page
    assert "&lt;b&gt;cat&lt;/b&gt;" in page, "labels must be escaped"
    assert "<b>cat</b>" not in page
    outside = page.replace("http://www.w3.org", "").replace("http://purl.org", "")
    outside = outside.replace("http://creativecommons.org", "")
    assert "http" not in outside, "the page reaches for something elsewhere"


def test_a_report_of_an_unfinished_run_says_so(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "epoch": 0.5, "split": "train", "loss": 1.0, "lr": 0.1}\n{"step": 2, "ep'
    )
    page = write_report(tmp_path).read_text()
    assert "has not finished" in page
