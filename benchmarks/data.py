"""From JPEG files to normalized training batches on one core: ours, timm, torchvision v2, kornia.

python -m benchmarks.data [rounds]

Every rival decodes, takes a random resized crop of 224 pixels with antialiasing, flips, perhaps
applies RandAugment, and normalizes. Seconds are those of the processor, in turn, in one process.
The photographs are scikit-image's and scikit-learn's, cut to 500 x 375, and enlarged to 12 MP.
"""

import io
import sys
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

import parity  # noqa: F401, before timm asks for torchvision
from benchmarks.common import compare, show, write
from vitrail.data.augment_config import AugmentConfig
from vitrail.data.functional import flip, random_resized_crop
from vitrail.data.image_augment import ImageAugment
from vitrail.data.image_file import ImageFile
from vitrail.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess

SIZE, SCALE, RATIO = 224, (0.35, 1.0), (3 / 4, 4 / 3)
BARS = {"plain": 2.0, "randaugment": 1.5, "12 megapixels": 10.0}
CANVAS = 280


def photographs() -> list[Image.Image]:
    """Photographs of 500 x 375 pixels."""
    import skimage.data
    from sklearn.datasets import load_sample_images

    arrays = [*load_sample_images().images]
    arrays += [
        getattr(skimage.data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")
    ]
    images = []
    for array in arrays:
        image = Image.fromarray(array)
        scale = max(500 / image.width, 375 / image.height)
        image = image.resize((round(image.width * scale), round(image.height * scale)))
        images.append(image.crop((0, 0, 500, 375)))
    return images


def encode(image: Image.Image) -> bytes:
    """A JPEG of quality 90."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def ours(files: list[bytes], **settings: Any) -> Callable[[], torch.Tensor]:
    """Each image by itself, then the batch is normalized."""
    preprocess = Preprocess((SIZE, SIZE), 256)
    augment = ImageAugment(AugmentConfig(scale=SCALE, ratio=RATIO, **settings), preprocess)

    def run() -> torch.Tensor:
        crops = [augment(ImageFile(data, 3, "x"), seed) for seed, data in enumerate(files)]
        return preprocess.normalise(torch.stack(crops))

    return run


def canvases(files: list[bytes]) -> Callable[[], torch.Tensor]:
    """What Vitrail did before: whole images squeezed to 280 pixels, crops of the batch."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    sizes = torch.tensor([ImageFile(data, 3, "x").shape[1:] for data in files])

    def squeeze(data: bytes) -> torch.Tensor:
        pixels = ImageFile(data, 3, "x").decode()[None].contiguous().float()
        small = torch.nn.functional.interpolate(
            pixels, (CANVAS, CANVAS), mode="bilinear", antialias=True
        )
        return small[0].round().to(torch.uint8)

    def run() -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        batch = torch.stack([squeeze(data) for data in files]).float() / 255
        crops = random_resized_crop(batch, sizes, (SIZE, SIZE), SCALE, RATIO, generator)
        return (flip(crops, 0.5, generator) - mean) / std

    return run


def by_timm(files: list[bytes], policy: str | None = None) -> Callable[[], torch.Tensor]:
    """timm's create_transform on Pillow images."""
    from timm.data import create_transform

    transform = create_transform(
        SIZE, is_training=True, scale=SCALE, ratio=RATIO, hflip=0.5, color_jitter=None,
        auto_augment=policy, interpolation="bilinear",
    )  # fmt: skip
    return _pillow(files, transform)


def by_torchvision(files: list[bytes], operations: int = 0) -> Callable[[], torch.Tensor]:
    """torchvision's transforms v2 on Pillow images."""
    from torchvision.transforms import v2

    policy = [v2.RandAugment(operations, 9)] if operations else []
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, scale=SCALE, ratio=RATIO, antialias=True),
            v2.RandomHorizontalFlip(),
            *policy,
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    return _pillow(files, transform)


def _pillow(files: list[bytes], transform: Any) -> Callable[[], torch.Tensor]:
    return lambda: torch.stack(
        [transform(Image.open(io.BytesIO(data)).convert("RGB")) for data in files]
    )


def by_kornia(files: list[bytes], operations: int = 0) -> Callable[[], torch.Tensor]:
    """kornia on whole batches. Its crops are not antialiased."""
    import kornia.augmentation as K
    from kornia.augmentation.auto import RandAugment

    policy = [RandAugment(n=operations, m=9)] if operations else []
    transform = torch.nn.Sequential(
        K.RandomResizedCrop((SIZE, SIZE), scale=SCALE, ratio=RATIO),
        K.RandomHorizontalFlip(),
        *policy,
        K.Normalize(torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)),
    )
    return lambda: transform(
        torch.stack([ImageFile(data, 3, "x").decode() for data in files]).float() / 255
    )


def main() -> None:
    """Prints and writes the rates and the ratios."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 25  # of 7 the median ranged by a third
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    images = photographs()
    small = [encode(image) for image in images] * 6
    large = [encode(image.resize((4032, 3024), Image.Resampling.BICUBIC)) for image in images[:3]]
    tables = {
        "plain": {
            "vitrail": ours(small),
            "timm": by_timm(small),
            "torchvision v2": by_torchvision(small),
            "kornia": by_kornia(small),
            "vitrail before": canvases(small),
        },
        "randaugment": {
            "vitrail": ours(small, randaugment=2),
            "timm": by_timm(small, "rand-m9-n2"),  # its default: each operation in half of cases
            "timm, all operations": by_timm(small, "rand-m9-n2-p1.0"),
            "torchvision v2": by_torchvision(small, 2),
            "kornia": by_kornia(small, 2),
        },
        "12 megapixels": {
            "vitrail": ours(large),
            "vitrail before": canvases(large),
            "timm": by_timm(large),
            "torchvision v2": by_torchvision(large),
        },
    }
    rivals = {"plain": "timm", "randaugment": "timm", "12 megapixels": "vitrail before"}
    results: dict[str, Any] = {}
    for title, table in tables.items():
        files = large if title == "12 megapixels" else small
        seconds = compare(table, rounds, warmup=1, clock=time.process_time)
        rates = {name: len(files) / row["median"] for name, row in seconds.items()}
        show(title, seconds, len(files))
        ratio = seconds[rivals[title]]["ratio"]
        print(f"  {ratio:.2f}x the rate of {rivals[title]} (bar: {BARS[title]})")
        results[title] = {
            "images_per_second_and_core": rates, "seconds": seconds, "rival": rivals[title],
            "ratio": ratio, "bar": BARS[title],
        }  # fmt: skip
    bytes_each = {
        "500 x 375": np.mean([len(f) for f in small]),
        "4032 x 3024": np.mean([len(f) for f in large]),
    }
    write("data", {"bytes_per_file": bytes_each, **results})


if __name__ == "__main__":
    main()
