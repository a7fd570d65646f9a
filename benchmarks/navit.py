"""NaViT on images of many sizes: inference and a training step, against vit-pytorch's two.

python -m benchmarks.navit [--quick] [--threads N]

24 images between 64 and 256 pixels a side, patches of 16, dim 384, depth 6: the same weights in
all three, equal threads, one run, in turn. vit-pytorch normalises before and after its patch
projection: the two layers are taken out of it, which only helps it.

Its file of masks runs as it comes, all images in one sequence; in its own groups, of at most 2048
patches, which is its default, and of the limit that is quickest here; and called once an image. Its
file of nested tensors runs mended: as it comes, no gradient reaches its embedding.

"products alone" is the least that ours could take: the linear layers of the blocks, as ours compute
them (see `ops/linear.py`), and nothing else. "bf16" is ours by `vitrail.deploy`, beside float32.
"""

import argparse
import os
import random
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from vit_pytorch import na_vit, na_vit_nested_tensor

from benchmarks.common import compare, show, write
from parity.pairs.navit import FULL, nested, shared, to_masked
from vitrail.deploy.precision import halve

warnings.filterwarnings("ignore", "The PyTorch API of nested tensors")
na_vit_nested_tensor.nested_tensor = torch.nested.as_nested_tensor  # which lets gradients pass

PATCH, DEPTH, IMAGES = 16, 6, 24
GROUPS = (256, 384, 512, 768, 1024)  # patches at most, the sizes tried
Run = Callable[[], Tensor]


def batch() -> list[Tensor]:
    """Images whose sides are any multiple of the patch between 64 and 256."""
    draw = random.Random(0)
    torch.manual_seed(0)
    return [
        torch.randn(3, *(PATCH * draw.randint(64 // PATCH, 256 // PATCH) for _ in range(2)))
        for _ in range(IMAGES)
    ]


def ways(
    images: list[Tensor], limits: tuple[int, ...]
) -> tuple[dict[str, nn.Module], dict[str, Run]]:
    """The networks, with one set of weights, and how each is called."""
    ours, nests = nested(True, depth=DEPTH)
    masks = shared(ours, na_vit.NaViT(**{**FULL, "depth": DEPTH}), to_masked)[1]

    def groups(limit: int) -> Run:
        return lambda: masks(images, group_images=True, group_max_seq_len=limit)

    tried = {limit: quickest(groups(limit)) for limit in limits}
    best = min(tried, key=tried.__getitem__)
    return {"ours": ours, "masks": masks, "nested": nests}, {
        "vitrail": lambda: ours(images),
        "vit-pytorch": lambda: masks(images),
        "vit-pytorch, groups of 2048": groups(2048),
        f"vit-pytorch, groups of {best}": groups(best),
        "vit-pytorch, one by one": lambda: torch.cat([masks([image]) for image in images]),
        "vit-pytorch, nested tensors": lambda: nests(images),
    }


@torch.inference_mode()
def quickest(call: Run) -> float:
    """Seconds, the least of three."""
    call()
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def products(ours: nn.Module, images: list[Tensor]) -> Run:
    """The linear layers of the blocks on all patches."""
    count = sum(image[0].numel() // PATCH**2 for image in images)
    layers = [m for m in ours.blocks.modules() if isinstance(m, nn.Linear)]
    inputs = {width: torch.randn(count, width) for width in {m.in_features for m in layers}}
    return lambda: [m(inputs[m.in_features]) for m in layers]


def training(models: dict[str, nn.Module], calls: dict[str, Run]) -> dict[str, Callable[[], Any]]:
    """Forward, backward and an AdamW step, of what each call runs."""
    labels = torch.arange(IMAGES)
    optimizers = {
        key: torch.optim.AdamW(m.train().parameters(), lr=1e-5, fused=True)
        for key, m in models.items()
    }

    def step(call: Run, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        F.cross_entropy(call(), labels).backward()
        optimizer.step()

    def owner(name: str) -> str:
        return "ours" if name == "vitrail" else "nested" if "nested" in name else "masks"

    return {n: lambda c=c, n=n: step(c, optimizers[owner(n)]) for n, c in calls.items()}


def main() -> None:
    """Runs everything, prints it and writes the result."""
    options = argparse.ArgumentParser()
    options.add_argument("--quick", action="store_true")
    options.add_argument("--threads", type=int, default=os.cpu_count())
    quick, threads = vars(options.parse_args()).values()
    torch.set_num_threads(threads)
    rounds, images = (2 if quick else 7), batch()
    models, calls = ways(images, GROUPS[-1:] if quick else GROUPS)
    tokens = sum(image[0].numel() // PATCH**2 for image in images)
    print(f"{IMAGES} images, {tokens} patches, dim {FULL['dim']}, depth {DEPTH}")
    results: dict[str, Any] = {"images": IMAGES, "patches": tokens, "depth": DEPTH}
    with torch.inference_mode():
        outputs = [call() for call in calls.values()]
        worst = max((outputs[0] - o).abs().max().item() for o in outputs[1:])
        assert worst < 1e-4, f"the rivals do not compute the same: {worst}"
        half = halve(models["ours"])
        more = {"products alone": products(models["ours"], images), "bf16": lambda: half(images)}
        results["inference"] = table = compare({**calls, **more}, rounds, 1)
    show("inference", table, IMAGES)
    results["training step"] = table = compare(training(models, calls), max(2, rounds // 2), 1)
    show("training step", table, IMAGES)
    if not quick:
        write("navit", results)


if __name__ == "__main__":
    main()
