"""Every model trains: the recipes in recipes/zoo on Fashion-MNIST, and spectra for 1-D and 3-D.

python -m benchmarks.zoo_training [--only swin,vit] [--jobs 2]

Models of equal size, a few minutes each on one thread. Beside them a linear classifier on the
pixels, trained for as long as the slowest of them. Prints accuracy on the test images, the loss at
the start and at the end, seconds of the processor (data, training and the report together), and the
memory that one batch of 64 saves for its backward pass.

Spectra and volumes are Indian Pines (145 x 145 pixels, 200 bands, 16 kinds of land use), which the
package tensorly carries: `pip install --no-deps tensorly`; without it they are left out. Half of
the labelled pixels train, half test; cubes of 8 x 8 pixels overlap between the two, for the linear
classifier as for the others.
"""

import argparse
import json
import math
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.common import read, run_command, write
from vitrail.data.registry import open_dataset
from vitrail.models.registry import new_model
from vitrail.train.config import read_config
from vitrail.train.factory import build_model, open_datasets

RECIPES = Path(__file__).parents[1] / "recipes" / "zoo"
BATCH, CUBE, SECONDS = 64, 8, 75.0
WIDTH = {"dim": 96, "depth": 4, "heads": 4, "mlp_dim": 192}
LINE = {**WIDTH, "image_size": (200,), "patch_size": (10,)}
CUBES = {**WIDTH, "image_size": (200, CUBE, CUBE), "patch_size": (20, 4, 4)}
SPECTRA: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "spectra": [("ViT", LINE), ("SimpleViT", LINE)],
    "cubes": [("ViT", CUBES), ("SimpleViT", CUBES), ("ViViT", CUBES)],
}


def saved_for_backward(model: nn.Module, images: Tensor) -> float:
    """MiB of tensors, beside the weights, that a forward pass saves for the backward pass."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved: dict[int, int] = {}

    def save(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        loss = model.train()(images).sum()
    del loss
    return sum(saved.values()) / 2**20


def recipe(path: Path) -> dict[str, Any]:
    """Trains a recipe as its command does → its row."""
    run = read_config(path)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        seconds = run_command(["vitrail", "train", str(path), "--out", str(out)])
        figures = json.loads((out / "model" / "config.json").read_text())["metrics"]
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["split"] == "train"]
    torch.manual_seed(0)
    model = build_model(run, open_datasets(run).train)
    images = torch.randn(BATCH, model.channels, *model.image_size)
    return {
        "model": run.model.name,
        "data": "Fashion-MNIST",
        "accuracy": figures["top1"],
        "first loss": losses[0],
        "last loss": losses[-1],
        "seconds": seconds,
        "epochs": run.schedule.epochs,
        "parameters": sum(p.numel() for p in model.parameters()),
        "MiB": saved_for_backward(model, images),
        "command": f"vitrail train recipes/zoo/{path.name}",
    }


Split = tuple[Tensor, Tensor]


def learn(model: nn.Module, train: Split, test: Split, stop: float, lr: float) -> dict[str, Any]:
    """A plain loop: AdamW, a cosine over `stop` seconds of the processor."""
    (images, targets), losses = train, []
    optimizer = torch.optim.AdamW(model.train().parameters(), lr=lr, fused=True)
    torch.manual_seed(0)
    begin = time.process_time()
    while (progress := (time.process_time() - begin) / stop) < 1:
        optimizer.param_groups[0]["lr"] = lr * min(
            progress / 0.05, 0.5 + 0.5 * math.cos(math.pi * progress)
        )
        some = torch.randint(len(images), (BATCH,))
        loss = F.cross_entropy(model(images[some]), targets[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    with torch.inference_mode():
        right = [
            (model(x).argmax(1) == y)
            for x, y in zip(test[0].split(500), test[1].split(500), strict=True)
        ]
    return {
        "accuracy": torch.cat(right).float().mean().item(),
        "first loss": losses[0],
        "last loss": sum(losses[-50:]) / 50,
        "seconds": stop,
        "epochs": len(losses) * BATCH / len(images),
        "parameters": sum(p.numel() for p in model.parameters()),
        "MiB": saved_for_backward(model, images[:BATCH].clone()),
    }


def linear_classifier(train: Split, test: Split, stop: float) -> dict[str, Any]:
    """Softmax regression on the numbers of an image."""
    classes = int(train[1].max()) + 1
    model = nn.Sequential(nn.Flatten(), nn.Linear(train[0][0].numel(), classes))
    return {"model": "linear classifier", **learn(model, train, test, stop, 1e-3)}


def fashion() -> tuple[Split, Split]:
    """Fashion-MNIST, normalised."""
    parts = []
    for split in ("train", "test"):
        source = open_dataset("fashion-mnist", split)
        parts.append((source.images.float() / 255 - 0.286, torch.tensor(source.targets())))
    return parts[0], parts[1]


def indian_pines(cubes: bool) -> tuple[Split, Split]:
    """Labelled pixels: spectra (1, 200), or cubes (1, 200, 8, 8) around them; half for the test."""
    folder = Path(find_spec("tensorly").origin).parent / "datasets" / "data"
    bands = torch.from_numpy(np.load(folder / "Indian_pines_corrected.npy").astype("float32"))
    kinds = torch.from_numpy(np.load(folder / "Indian_pines_gt.npy").astype("int64"))
    bands = (bands - bands.mean((0, 1))) / bands.std((0, 1))
    rows, columns = kinds.nonzero(as_tuple=True)
    targets = kinds[rows, columns] - 1
    images = bands[rows, columns][:, None]
    if cubes:
        half = CUBE // 2
        padded = F.pad(bands.permute(2, 0, 1)[None], [half] * 4, mode="reflect")[0]
        around = padded.unfold(1, CUBE, 1).unfold(2, CUBE, 1)  # (200, rows, columns, 8, 8)
        images = around[:, rows, columns].transpose(0, 1)[:, None]
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))
    train, test = order.chunk(2)
    return (images[train], targets[train]), (images[test], targets[test])


def spectra(seconds: float) -> list[dict[str, Any]]:
    """Models on one and three axes, and the linear classifiers beside them."""
    rows = []
    for kind, models in SPECTRA.items():
        train, test = indian_pines(kind == "cubes")
        for name, keywords in models:
            torch.manual_seed(0)
            model = new_model(name, num_classes=16, channels=1, **keywords)
            row = learn(model, train, test, seconds, 1e-3)
            rows.append({"model": name, "data": f"Indian Pines, {kind}", **row})
            show_row(rows[-1])
        linear = linear_classifier(train, test, seconds)
        rows.append({"data": f"Indian Pines, {kind}", **linear})
        show_row(rows[-1])
    return rows


def show_row(row: dict[str, Any]) -> None:
    """Prints a row."""
    print(
        f"{row['model']:<18} {row['data']:<24} {row['accuracy']:7.2%}  "
        f"loss {row['first loss']:.2f} to {row['last loss']:.2f}  "
        f"{row['seconds']:4.0f} s  {row['epochs']:5.1f} epochs  "
        f"{row['parameters']:>8,} parameters  {row['MiB']:6.1f} MiB",
        flush=True,
    )


def write_rows(new: list[dict[str, Any]]) -> None:
    """Writes rows beside the others."""
    rows = {(r["model"], r["data"]): r for r in [*read("zoo_training").get("rows", []), *new]}
    write("zoo_training", {"rows": [rows[key] for key in sorted(rows)]}, report=False)


def main() -> None:
    """Trains everything, or --only those recipes, and writes the table."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--only", help="recipes, such as swin,vit; or 'spectra'")
    arguments.add_argument("--jobs", type=int, default=2, help="recipes at a time, a thread each")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    only = options.only and options.only.split(",")
    paths = [p for p in sorted(RECIPES.glob("*.yaml")) if p.stem != "base"]
    paths = [p for p in paths if only is None or p.stem in only]
    new: list[dict[str, Any]] = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for task in as_completed([pool.submit(recipe, path) for path in paths]):
            new.append(task.result())
            show_row(new[-1])
            write_rows(new)
    if only is None:
        slowest = max(row["seconds"] for row in new)
        new.append({"data": "Fashion-MNIST", **linear_classifier(*fashion(), slowest)})
        show_row(new[-1])
    if find_spec("tensorly") and (only is None or "spectra" in only):
        new += spectra(SECONDS)
    write_rows(new)


if __name__ == "__main__":
    main()
