"""Traces as files: a picture and the attention that a model paid to it, to draw again later."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vitrail.arguments import checked
from vitrail.errors import LoadError
from vitrail.files import atomic_write, check_absent
from vitrail.hub.fitting import reading
from vitrail.lens.trace import AttentionTrace
from vitrail.models.features import Features

VERSION = 1
SUFFIX = ".trace"


@dataclasses.dataclass
class SavedTrace:
    """A trace with the picture that it is of.

    Args:
        image: uint8 (C, *size), cropped as the model sees it.
        trace: attention of this image, a batch of one.
        title: what the picture is.
        origin: which model the attention is of.

    Example:
        >>> from vitrail.lens.trace import trace_attention
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> trace = trace_attention(model, torch.zeros(1, 3, 8, 8))
        >>> SavedTrace(torch.zeros(3, 8, 8, dtype=torch.uint8), trace, "cat", "ViT").title
        'cat'
    """

    image: Tensor
    trace: AttentionTrace
    title: str
    origin: str


@checked
def save_trace(path: str | Path, saved: SavedTrace, *, overwrite: bool = False) -> None:
    """Writes a trace to a file, as safetensors and JSON.

    Args:
        path: the file.
        saved: the trace and its picture.
        overwrite: whether a file that is there is replaced.

    Raises:
        ConfigError: the file is there.

    Example:
        >>> import tempfile
        >>> from vitrail.lens.trace import trace_attention
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> trace = trace_attention(model, torch.zeros(1, 3, 8, 8))
        >>> path = Path(tempfile.mkdtemp()) / "cat.trace"
        >>> save_trace(path, SavedTrace(torch.zeros(3, 8, 8).byte(), trace, "cat", "ViT"))
        >>> load_trace(path).trace.keys
        [0]
    """
    check_absent(Path(path), overwrite)
    trace = saved.trace
    header = {
        "version": VERSION,
        "title": saved.title,
        "origin": saved.origin,
        "keys": trace.keys,
        "head_names": trace.head_names,
        "grid": trace.features.grid,
        "query": trace.query,
        "incoming": trace.incoming,
    }
    tensors = {f"attention.{i}": maps for i, maps in enumerate(trace.attention)} | {
        "image": saved.image,
        "rollout": trace.rollout,
        "patches": trace.features.patches,
        "prefix": trace.features.prefix,
        "logits": trace.logits,
    }
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"vitrail.trace": json.dumps(header, ensure_ascii=False)}
    atomic_write(path, safetensors.torch.save(plain, metadata))


@checked
def load_trace(path: str | Path) -> SavedTrace:
    """Reads a file of `save_trace`.

    Args:
        path: the file.

    Returns:
        The trace and its picture.

    Raises:
        LoadError: there is no such file, it holds no trace, or one of another version.

    Example:
        >>> load_trace("nowhere.trace")
        Traceback (most recent call last):
        vitrail.errors.LoadError: nowhere.trace is no trace: No such file or directory...
    """
    path = Path(path)
    if not path.exists():
        raise LoadError(f"{path} is no trace: No such file or directory.")
    if not path.is_file():  # a pipe would wait for ever
        raise LoadError(f"{path} is no trace: it is no regular file.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            header: dict[str, Any] = json.loads(metadata.get("vitrail.trace", "{}"))
            version = header.get("version") if isinstance(header, dict) else None
            if version is None:
                raise LoadError(f"{path} is no trace: `vitrail look --save FILE.trace` writes one.")
            if version != VERSION:
                raise LoadError(
                    f"{path} is a trace of version {version}, and this Vitrail reads version "
                    f"{VERSION}: write it again by `vitrail look --save`."
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as problem:
        reason = (str(problem).splitlines() or ["it cannot be read"])[0].rstrip(".")
        raise LoadError(f"{path} is no trace: {reason}.") from None
    with reading(path):
        return _from_parts(path, header, tensors)


def _from_parts(path: Path, header: dict[str, Any], tensors: dict[str, Tensor]) -> SavedTrace:
    keys, grid = list(header["keys"]), tuple(header["grid"])
    maps = [tensors[f"attention.{i}"] for i in range(len(keys))]
    shapes = {tuple(m.shape[2:]) for m in maps} | {tuple(tensors["rollout"].shape[1:])}
    image = tensors["image"]
    if not keys or shapes != {grid} or image.ndim != len(grid) + 1:
        raise LoadError(f"{path} is a damaged trace: its maps are not of the grid {grid}.")
    if tensors["patches"].shape[1] != math.prod(grid):
        raise LoadError(f"{path} is a damaged trace: its patches are not those of the grid {grid}.")
    query = header["query"]
    features = Features(tensors["patches"], tensors["prefix"], grid)
    trace = AttentionTrace(
        keys,
        maps,
        [tuple(names) for names in header["head_names"]],
        tensors["rollout"],
        features,
        tensors["logits"],
        query if isinstance(query, str) else tuple(query),
        bool(header["incoming"]),
    )
    return SavedTrace(image, trace, str(header["title"]), str(header["origin"]))
