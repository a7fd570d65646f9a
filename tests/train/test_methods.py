"""Methods in the trainer: their data, evaluation, images, saved parts and resuming."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vitrail
from tests.train.test_fit import cut_and_resume, digest, metrics
from tests.train.tiny import tiny
from vitrail.data.registry import open_dataset
from vitrail.data.splits import balanced, split_off
from vitrail.errors import ConfigError, LoadError
from vitrail.hub.method_folder import load_method
from vitrail.lens.report_page import write_report
from vitrail.methods.base import Method
from vitrail.methods.registry import register_method
from vitrail.run_folder import RunFolder
from vitrail.train.callback import Callback
from vitrail.train.config import RunConfig
from vitrail.train.data_factory import open_datasets
from vitrail.train.factory import train_run
from vitrail.train.model_factory import build_method, build_model
from vitrail.train.trainer import Trainer

PLAIN = "data.augment={crop: none, flip: 0.5}"
MAE = "method={name: mae, mask_ratio: 0.5, decoder_dim: 16, decoder_depth: 1, decoder_heads: 2}"
DINO = "method={name: dino, out_dim: 24, head_dims: [24, 12], patch_weight: 0.5}"
CLIP = (
    "method={name: clip, tokenizer: 'train:80', embed_dim: 16, text_dim: 16, text_depth: 1, "
    "text_heads: 2}"
)
CROPS = ("data.augment={crop: resized, ratio: [0.9, 1.1]}", "data.crops={local: 2, local_size: 4}")
METHODS = {
    "mae": (MAE, PLAIN),
    "simmim": ("method.name=simmim", PLAIN),
    "mpp": ("method={name: mpp, bits: 2}", PLAIN),
    "dvae": ("method={name: dvae, vocabulary: 16}", PLAIN),
    "dino": (DINO, *CROPS, "optim.ema=0"),
    "clip": (CLIP, PLAIN),
}


def of(name: str, *overrides: str) -> RunConfig:
    """The tiny run of a method, on digits."""
    return tiny("train.knn_images=100", *METHODS[name], *overrides)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_resumes_to_the_same_bytes(name: str, tmp_path: Path) -> None:
    run = of(name)
    train_run(run, tmp_path / "whole")
    cut_and_resume(run, tmp_path / "cut")
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")
    for file in RunFolder(tmp_path / "whole").images_folder.glob("*.png"):
        cut = RunFolder(tmp_path / "cut").images_folder / file.name
        assert np.array_equal(np.asarray(Image.open(file)), np.asarray(Image.open(cut)))


def test_pretraining_is_evaluated_by_knn_and_drawn(tmp_path: Path) -> None:
    figures = train_run(of("mae", "schedule.epochs=6", "optim.ema=0"), tmp_path / "run")
    assert figures["evaluated_by"] == "k-NN, k = 20"
    assert figures["top1"] == pytest.approx(_nearest(tmp_path / "run"), abs=0.01)
    lines = [line for line in metrics(tmp_path / "run") if line["split"] == "val"]
    assert lines[-1]["loss"] < 0.97 * lines[0]["loss"]  # of pixels, on held-out images
    assert lines[-1]["loss"] == pytest.approx(figures["val_method_loss"])
    images = RunFolder(tmp_path / "run").logged_images["reconstruction"]
    assert [step for step, _ in images] == [line["step"] for line in lines]
    model = vitrail.load(tmp_path / "run")
    assert model.num_classes == 0 and model.labels is None
    page = write_report(tmp_path / "run").read_text()
    assert "k-NN, k = 20" in page and "Reconstruction" in page
    assert "Step 12" in page and "Step 72" in page  # the first and the last


def _nearest(run: Path) -> float:
    """The accuracy on digits by the votes of the 20 nearest of 100 training images."""
    model, parts = vitrail.load(run), []
    learning, _ = split_off(open_dataset("digits", "train"))  # the rest judges epochs
    for source in (balanced(learning, 100), open_dataset("digits", "test")):
        with torch.no_grad():
            pooled = model.pool(model.features(model.preprocess(source.images)))
        parts.append((pooled / pooled.norm(dim=1, keepdim=True), torch.tensor(source.targets())))
    (bank, labels), (queries, targets) = parts
    near = (queries @ bank.T).topk(20)
    votes = torch.zeros(len(queries), 10)
    votes.scatter_add_(1, labels[near.indices], (near.values / 0.07).exp())
    return (votes.argmax(1) == targets).float().mean().item()


class MethodOf(Callback):
    """Holds on to the method that is trained, and to its optimizer."""

    def start(self, trainer: Trainer) -> None:
        self.method, self.optimizer = trainer.method, trainer.optimizer


def test_an_ema_teacher_is_drawn_and_is_the_result(tmp_path: Path) -> None:
    of_run = MethodOf()
    train_run(of("dino", "optim.ema=0"), tmp_path / "run", callbacks=[of_run])
    assert RunFolder(tmp_path / "run").logged_images["attention"]
    train = [line for line in metrics(tmp_path / "run") if line["split"] == "train"]
    assert all({"teacher_entropy", "mean_entropy", "agreement"} <= line.keys() for line in train)
    assert not any("loss" in line for line in metrics(tmp_path / "run") if line["split"] == "val")
    page = write_report(tmp_path / "run").read_text()
    assert "teacher entropy" in page and "Attention" in page
    teacher, saved = of_run.method.result(), vitrail.load(tmp_path / "run")
    for name, weight in saved.state_dict().items():
        assert torch.equal(weight, teacher.state_dict()[name])
    student = of_run.method.backbone
    assert not torch.equal(student.norm.weight, saved.norm.weight)


def test_a_decoder_is_saved_with_its_backbone(tmp_path: Path) -> None:
    of_run = MethodOf()
    train_run(of("mae", "optim.ema=0"), tmp_path / "run", callbacks=[of_run])
    saved, own = load_method(tmp_path / "run"), of_run.method.eval()
    images = torch.randn(4, 1, 8, 8)
    torch.manual_seed(0)
    expected = own.reconstruct(images)
    torch.manual_seed(0)
    assert torch.equal(saved.reconstruct(images), expected)
    assert not any(name.startswith("backbone") for name in _saved_names(tmp_path / "run"))


def _saved_names(run: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(run / "method" / "method.safetensors", "pt") as file:
        return list(file.keys())


def test_what_holds_no_method_says_so(tmp_path: Path) -> None:
    train_run(tiny(), tmp_path / "run")
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
    overrides = [f"{key}={value}" for key, value in settings.items()]
    options = (
        "model.options={image_size: 8, patch_size: 2, dim: 32, depth: 2, heads: 2, mlp_dim: 64}"
    )
    figures = train_run(tiny(MAE, options, *overrides, "data.batch_size=16"), tmp_path / "run")
    assert "top1" not in figures and figures["method_loss"] > 0
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text()) == figures
    assert "no evaluation" not in write_report(tmp_path / "run").read_text()
    with pytest.raises(ConfigError, match="has no labels and method 'supervised' learns from them"):
        train_run(tiny(*overrides), tmp_path / "other")


def test_the_weight_decay_grows_to_its_end(tmp_path: Path) -> None:
    of_run = MethodOf()
    run = of("mae", "optim.weight_decay=0.04", "optim.weight_decay_end=0.4")
    train_run(run, tmp_path / "run", callbacks=[of_run])
    decays = {group["weight_decay"] for group in of_run.optimizer.param_groups}
    assert min(decays) == 0.0 and 0.35 < max(decays) <= 0.4


def test_a_method_with_batches_of_its_own_needs_a_stream_of_its_own() -> None:
    """The contract has room for what Vitrail's datasets do not hold yet."""

    class Cloning(Method):
        inputs = ("images", "actions")

    register_method("cloning")(Cloning)
    run = tiny("method.name=cloning")
    dataset = open_datasets(run).train
    with pytest.raises(ConfigError, match=r"method 'cloning' reads actions, which no dataset"):
        build_method(run, build_model(run, dataset), dataset)
