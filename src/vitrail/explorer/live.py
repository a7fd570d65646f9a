"""A model that runs in the browser: an ONNX graph that gives all that the page shows of it."""

import contextlib
import copy
import dataclasses
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitrail.deploy._exportable import first_cause, quiet
from vitrail.deploy.export import OPSET
from vitrail.errors import ConfigError, VitrailError, how_to_install
from vitrail.explorer.documents import Explorer
from vitrail.layers.mamba import Mamba
from vitrail.lens.explanations.patch_logits import logit_lens
from vitrail.lens.layer_keys import LayerKey
from vitrail.lens.layouts import AttentionLayout
from vitrail.lens.record import record
from vitrail.models.base import Backbone

TOLERANCE = 1e-4  # of onnxruntime's outputs, absolute; relative where they are larger than 1


class LiveModel(nn.Module):
    """A model that returns its prediction, its features and its attention weights.

    Args:
        model: the model, in evaluation mode.
        layouts: by attention layer, the layout of those whose weights are returned.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8).eval()
        >>> values, patches, lens = LiveModel(model, {})(torch.zeros(1, 3, 8, 8))
        >>> values.shape, patches.shape, lens.shape
        (torch.Size([1, 2]), torch.Size([1, 4, 8]), torch.Size([1, 2]))
    """

    def __init__(self, model: Backbone, layouts: dict[LayerKey, AttentionLayout]) -> None:
        super().__init__()
        self.model, self.layouts = model, layouts
        images = torch.zeros(1, model.channels, *model.preprocess.size)
        try:
            logit_lens(model, images)
            self.has_lens = True
        except VitrailError:
            self.has_lens = False

    @property
    def output_names(self) -> list[str]:
        """The names of what `forward` returns."""
        lens = ["lens"] if self.has_lens else []
        return ["values", "patches", *lens, *(f"attention_{i}" for i in range(len(self.layouts)))]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """One image (1, C, H, W) → outputs after the activation (1, classes), patches (1, N, D),
        where there is a lens outputs after each block (blocks, classes), and weights by head."""
        model, keys = self.model, list(self.layouts)
        lens: list[Tensor] = []
        with contextlib.ExitStack() as recording:
            maps = recording.enter_context(record(model, layers=keys)) if keys else {}
            if self.has_lens:
                stages = model.intermediates(images, norm=True)
                features = stages[-1]
                logits = torch.cat([model.head(model.pool(stage)) for stage in stages])
                lens, logits = [model.outputs.activate(logits)], logits[-1:]
            else:
                features = model.features(images)
                logits = model.head(model.pool(features))
        weights = [self.layouts[key].by_head(maps[key]) for key in keys]
        return model.outputs.activate(logits), features.patches, *lens, *weights


def write_live_model(explorer: Explorer, path: Path) -> dict[str, Any]:
    """Writes the graph of a model, and checks it in onnxruntime.

    Args:
        explorer: the model.
        path: the ONNX file to write.

    Returns:
        What the page needs to run it: its size in bytes, the grid, the layers with maps, whether
        there is a lens, the preprocessing, and the largest difference from PyTorch.

    Raises:
        ConfigError: a package is missing, or the model reads no color pictures.
        VitrailError: onnxruntime's outputs differ from PyTorch's.

    Example:
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8, channels=1)
        >>> write_live_model(Explorer(model.eval(), "tiny"), Path("live.onnx"))
        Traceback (most recent call last):
        vitrail.errors.ConfigError: a page runs models of color pictures, and this ViT has ...
    """
    if explorer.model.channels != 3:
        raise ConfigError(
            f"a page runs models of color pictures, and this {type(explorer.model).__name__} has "
            f"channels={explorer.model.channels}."
        )
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(name) is None:
            raise ConfigError(f"a live page needs the package {name}: {how_to_install(name)}.")
    model = copy.deepcopy(explorer.model).cpu().float().eval().requires_grad_(False)
    scanned = {str(row["key"]) for row in explorer.layers if row["scan"]}
    layouts = {
        key: layout
        for key, layout in explorer.layouts.items()
        if isinstance(layout, AttentionLayout) and str(key) not in scanned  # N² · D numbers a scan
    }
    for module in model.modules():
        if isinstance(module, Mamba):
            module.backend = "torch"
    live = LiveModel(model, layouts).eval()
    size = model.preprocess.size
    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    _export(live, images, path)
    with torch.no_grad():
        features = model.features(images)
    return {
        "bytes": path.stat().st_size,
        "grid": list(features.grid),
        "lens": live.has_lens,
        "preprocess": dataclasses.asdict(model.preprocess),
        "difference": _difference(path, images, live),
        "layers": [
            {
                **row,
                "key_grid": list(layouts[key].key_grid),
                "cells": None if (cells := layouts[key].cells) is None else cells.tolist(),
            }
            for key in layouts
            for row in explorer.layers
            if row["key"] == str(key)
        ],
    }


def _export(live: LiveModel, images: Tensor, path: Path) -> None:
    try:
        with quiet():
            program = torch.onnx.export(
                live,
                (images,),
                dynamo=True,
                input_names=["images"],
                output_names=live.output_names,
                opset_version=OPSET,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as problem:
        raise ConfigError(
            f"PyTorch {torch.__version__} does not export this {type(live.model).__name__}: "
            f"{first_cause(problem)}. Leave --live out."
        ) from problem
    assert program is not None
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    ClearMetadataAndDocStringPass()(program.model)  # source files and lines of this machine
    path.parent.mkdir(parents=True, exist_ok=True)
    program.save(str(path), external_data=False)


def _difference(path: Path, images: Tensor, live: LiveModel) -> float:
    """The largest difference of onnxruntime's outputs from PyTorch's."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    outputs: Sequence[Any] = session.run(live.output_names, {"images": images.numpy()})
    with torch.no_grad():
        expected = live(images)
    largest = max(
        float((torch.from_numpy(actual) - own).abs().max() / own.abs().max().clamp(min=1))
        for actual, own in zip(outputs, expected, strict=True)
    )
    if not largest <= TOLERANCE:  # NaN is refused, too
        raise VitrailError(
            f"onnxruntime's outputs are {largest:.1e} from PyTorch's, and {TOLERANCE:.0e} is the "
            "limit: leave --live out."
        )
    return largest
