"""Models here and the originals they must equal: one file a family, each with its `PAIRS`.

`tests/parity/test_pairs.py` compares them, in float64 and float32, and writes docs/en/parity.md;
`benchmarks/zoo.py` times them. A new file in this folder is found by itself.
"""

import dataclasses
import importlib
import json
import pkgutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
import transformers
from torch import Tensor, nn

import vitrail
from parity.oracle import randomise
from vitrail.models.base import Backbone

transformers.utils.logging.disable_progress_bar()

Two = tuple[Backbone, nn.Module]  # ours and theirs, with one set of weights


@dataclasses.dataclass(frozen=True)
class Pair:
    """A model and its original.

    build(full): ours and theirs with one set of weights, in eval mode; small for the comparison,
    or, if `full`, of a published size for the benchmark. `PAIRS` of a family may share a `build`.
    """

    model: str  # our class
    original: str  # its library and name there, such as "timm swin_tiny_patch4_window7_224"
    build: Callable[[bool], Two]
    sizes: tuple[tuple[int, ...], ...]  # of the small models' inputs: two, where a model takes two
    full: tuple[int, ...] = ()  # size of the full models' input; (): not timed
    note: str = ""  # what had to be made equal first, and who follows the paper
    run: Callable[[nn.Module, Tensor], Tensor] = lambda model, images: model(images)  # theirs
    channels: int = 3

    def inputs(self, size: tuple[int, ...], batch: int = 2) -> Tensor:
        """Random inputs (batch, channels, *size), the same every time."""
        generator = torch.Generator().manual_seed(1)
        return torch.randn(batch, self.channels, *size, generator=generator)


def pairs() -> list[Pair]:
    """All pairs of all families."""
    names = [info.name for info in pkgutil.iter_modules(__path__)]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in sorted(names)]
    return [pair for module in modules for pair in module.PAIRS]


def from_timm(name: str, **arguments: Any) -> Two:
    """timm's model with random weights, and what `vitrail.load` makes of its folder."""
    original = randomise(timm.create_model(name, **arguments))
    with tempfile.TemporaryDirectory() as folder:
        save_timm(original, Path(folder), name, arguments)
        return vitrail.load(folder), original


def save_timm(
    original: nn.Module, folder: Path, name: str, arguments: dict[str, Any], pool: str = ""
) -> None:
    """config.json and model.safetensors as timm lays them out."""
    settings = original.pretrained_cfg
    size = arguments.get("img_size", settings["input_size"][1:])
    size = [size, size] if isinstance(size, int) else list(size)
    config = {
        "architecture": name,
        "num_classes": original.num_classes,
        "global_pool": pool
        or arguments.get("global_pool")
        or getattr(original.global_pool, "pool_type", original.global_pool),
        "model_args": arguments,
        "pretrained_cfg": {**settings, "input_size": [3, *size]},
    }
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {k: v.contiguous() for k, v in original.state_dict().items()}
    safetensors.torch.save_file(tensors, folder / "model.safetensors")


def from_transformers(original: Any) -> Two:
    """transformers' model with random weights, and what `vitrail.load` makes of its folder."""
    randomise(original)
    with tempfile.TemporaryDirectory() as folder:
        original.save_pretrained(folder)
        return vitrail.load(folder), original


def logits(model: nn.Module, images: Tensor) -> Tensor:
    """How transformers' classifiers are run."""
    return model(images).logits
