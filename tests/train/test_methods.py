"""Methods in the trainer: what they learn from, how they are judged, drawn, kept and resumed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vitrail
from tests.train.test_loop import cut_and_resume, digest, metrics
from tests.train.tiny import tiny
from vitrail.data.registry import open_dataset
from vitrail.errors import ConfigError, LoadError
from vitrail.hub.method_folder import load_method
from vitrail.lens.report_page import write_report
from vitrail.train import trainer
from vitrail.train.config import RunConfig, make_config
from vitrail.train.factory import open_datasets

PLAIN = "data.views={crop: none, flip: 0.5}"
MAE = "method={name: mae, mask_ratio: 0.5, decoder_dim: 16, decoder_depth: 1, decoder_heads: 2}"
DINO = "method={name: dino, out_dim: 24, head_dims: [24, 12], patch_weight: 0.5}"
CLIP = (
    "method={name: clip, tokenizer: 'train:80', embed_dim: 16, text_dim: 16, text_depth: 1, "
    "text_heads: 2}"
)
CROPS = ("data.views={crop: resized, ratio: [0.9, 1.1]}", "data.crops={local: 2, local_size: 4}")
METHODS = {
    "mae": (MAE, PLAIN),
    "simmim": ("method.name=simmim", PLAIN),
    "mpp": ("method={name: mpp, bits: 2}", PLAIN),
    "dvae": ("method={name: dvae, vocabulary: 16}", PLAIN),
    "dino": (DINO, *CROPS),
    "clip": (CLIP, PLAIN),
}


def of(name: str, *overrides: str) -> RunConfig:
    """The tiny run of a method, on digits."""
    return tiny("train.knn_images=100", *METHODS[name], *overrides)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_resumes_to_the_same_bytes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = of(name)
    trainer.train(run, tmp_path / "whole")
    cut_and_resume(run, tmp_path / "cut", monkeypatch)
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")
    wholes = (tmp_path / "whole" / "pictures").glob("*.png")
    for drawn in wholes:
        cut = tmp_path / "cut" / "pictures" / drawn.name
        assert np.array_equal(np.asarray(Image.open(drawn)), np.asarray(Image.open(cut)))


def test_pretraining_is_judged_by_neighbours_and_drawn(tmp_path: Path) -> None:
    figures = trainer.train(of("mae", "schedule.epochs=6", "optim.ema=0"), tmp_path / "run")
    assert figures["judge"] == "20 nearest neighbours"
    assert figures["top1"] == pytest.approx(_nearest(tmp_path / "run"), abs=0.01)
    held = [line for line in metrics(tmp_path / "run") if line["split"] == "val"]
    assert held[-1]["loss"] < 0.97 * held[0]["loss"]  # of pixels, on images that are held out
    assert held[-1]["loss"] == pytest.approx(figures["method_loss"])
    drawn = sorted((tmp_path / "run" / "pictures").glob("reconstruction-*.png"))
    assert len(drawn) == len(held)
    model = vitrail.load(tmp_path / "run")
    assert model.num_classes == 0 and model.labels is None
    page = write_report(tmp_path / "run").read_text()
    assert "20 nearest neighbours" in page and "Reconstruction" in page
    assert "Step 12" in page and "Step 72" in page  # the first and the last


def _nearest(run: Path) -> float:
    """The part of digits' test images whose 20 nearest of 100 training images vote for them."""
    model, parts = vitrail.load(run), []
    for split, limit in (("train", 100), ("test", None)):
        source = open_dataset("digits", split, limit=limit)
        with torch.no_grad():
            pooled = model.pool(model.features(model.preprocess(source.images)))
        parts.append((pooled / pooled.norm(dim=1, keepdim=True), torch.tensor(source.targets())))
    (bank, labels), (queries, targets) = parts
    near = (queries @ bank.T).topk(20)
    votes = torch.zeros(len(queries), 10)
    votes.scatter_add_(1, labels[near.indices], (near.values / 0.07).exp())
    return (votes.argmax(1) == targets).float().mean().item()


def test_a_teacher_is_drawn_and_comes_out(tmp_path: Path) -> None:
    trainer.train(of("dino", "optim.ema=0"), tmp_path / "run")
    assert list((tmp_path / "run" / "pictures").glob("attention-*.png"))
    train = [line for line in metrics(tmp_path / "run") if line["split"] == "train"]
    assert all({"teacher_entropy", "mean_entropy", "agreement"} <= line.keys() for line in train)
    page = write_report(tmp_path / "run").read_text()
    assert "teacher entropy" in page and "Attention" in page
    trainer = trained(of("dino", "optim.ema=0"), tmp_path / "again")
    teacher, kept = trainer.learner.method.result(), vitrail.load(tmp_path / "again")
    for name, weight in kept.state_dict().items():
        assert torch.equal(weight, teacher.state_dict()[name])
    assert not torch.equal(trainer.model.norm.weight, kept.norm.weight)  # that is the student's


def trained(run: RunConfig, folder: Path) -> trainer.Trainer:
    """The trainer when it has ended."""
    folder.mkdir()
    trainer = trainer.Trainer(run, folder, open_datasets(run))
    trainer.fit()
    return trainer


def test_a_decoder_is_kept_with_its_backbone(tmp_path: Path) -> None:
    run = of("mae", "optim.ema=0")
    trainer = trained(run, tmp_path / "run")
    kept, own = load_method(tmp_path / "run"), trainer.learner.method.eval()
    images = torch.randn(4, 1, 8, 8)
    torch.manual_seed(0)
    wanted = own.reconstruct(images)
    torch.manual_seed(0)
    assert torch.equal(kept.reconstruct(images), wanted)
    assert not any(name.startswith("backbone") for name in _kept_names(tmp_path / "run"))


def _kept_names(run: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(run / "method" / "method.safetensors", "pt") as file:
        return list(file.keys())


def test_what_holds_no_method_says_so(tmp_path: Path) -> None:
    trainer.train(tiny(), tmp_path / "run")
    with pytest.raises(LoadError, match="holds no method"):
        load_method(tmp_path / "run")
    assert not (tmp_path / "run" / "method").exists()


def test_images_without_labels(tmp_path: Path) -> None:
    source = open_dataset("digits", "train", limit=60)
    for index in range(len(source)):
        path = tmp_path / "scans" / ("a" if index % 2 else "b") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(source.read(index)[0].numpy()).save(path)
    settings = {"data.source": f"images:{tmp_path / 'scans'}", "data.limit": "null"}
    given = [f"{key}={value}" for key, value in settings.items()]
    options = (
        "model.options={image_size: 8, patch_size: 2, dim: 32, depth: 2, heads: 2, mlp_dim: 64}"
    )
    figures = trainer.train(tiny(MAE, options, *given, "data.batch_size=16"), tmp_path / "run")
    assert "top1" not in figures and figures["method_loss"] > 0
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text()) == figures
    assert "no evaluation" not in write_report(tmp_path / "run").read_text()
    with pytest.raises(ConfigError, match="has no labels and method 'supervised' learns from them"):
        trainer.train(tiny(*given), tmp_path / "other")


def test_the_decay_grows_to_where_it_is_told(tmp_path: Path) -> None:
    run = of("mae", "optim.weight_decay=0.04", "optim.weight_decay_end=0.4")
    trainer = trained(run, tmp_path / "run")
    decays = {group["weight_decay"] for group in trainer.optimizer.param_groups}
    assert min(decays) == 0.0 and 0.35 < max(decays) <= 0.4


def test_settings_are_those_of_the_method() -> None:
    with pytest.raises(ConfigError, match=r"no setting 'method.mask_rato'. Did you mean"):
        make_config({"method": {"name": "mae", "mask_rato": 0.5}})
    with pytest.raises(ConfigError, match="no method 'meo'. Did you mean 'm"):
        make_config({"method": {"name": "meo"}})
    with pytest.raises(ConfigError, match=r"method.mask_ratio='much'"):
        make_config({"method": {"name": "mae", "mask_ratio": "much"}})
