"""A trace is written and read whole; anything else is refused in one line."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from tests.models.small import images_for, small
from vitrail.errors import ConfigError, LoadError
from vitrail.lens.trace import trace_attention
from vitrail.lens.trace_file import SavedTrace, load_trace, save_trace


def saved(name: str = "ViT", **query: Any) -> SavedTrace:
    model = small(name)
    trace = trace_attention(model, images_for(model)[:1], **query)
    return SavedTrace(torch.zeros(3, 32, 32, dtype=torch.uint8), trace, "猫", "a test")


@pytest.mark.parametrize("name", ["ViT", "VisionMamba"])
@pytest.mark.parametrize("query", [{}, {"query": (1, 2), "incoming": True}])
def test_a_trace_comes_back(name: str, query: dict[str, Any], tmp_path: Path) -> None:
    before = saved(name, **query)
    save_trace(tmp_path / "a.trace", before)
    after = load_trace(tmp_path / "a.trace")
    assert (after.title, after.origin) == ("猫", "a test")
    one, other = before.trace, after.trace
    assert (one.keys, one.head_names) == (other.keys, other.head_names)
    assert (one.query, one.incoming) == (other.query, other.incoming)
    assert all(map(torch.equal, one.attention, other.attention))
    assert torch.equal(one.rollout, other.rollout) and one.features.grid == other.features.grid
    assert torch.equal(one.features.patches, other.features.patches)
    with pytest.raises(ConfigError, match="a.trace exists: .*by overwrite=True"):
        save_trace(tmp_path / "a.trace", after)
    save_trace(tmp_path / "a.trace", after, overwrite=True)


def rewritten(path: Path, **changes: Any) -> Path:
    """The same file with another header."""
    with safetensors.safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["vitrail.trace"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    metadata = {"vitrail.trace": json.dumps({**header, **changes})}
    path.write_bytes(safetensors.torch.save(tensors, metadata))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "a trace of version 2, and this Vitrail reads version 1: write it again"),
        ({"version": None}, "is no trace"),
        ({"grid": [2, 2]}, "is a damaged trace: its maps are not of the grid"),
        ({"keys": []}, "is a damaged trace"),
        ({"keys": [0] * 9}, "cannot be understood: KeyError"),
        ({"grid": None}, "cannot be understood: TypeError"),
    ],
)
def test_another_trace_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    save_trace(tmp_path / "a.trace", saved())
    with pytest.raises(LoadError, match=message) as error:
        load_trace(rewritten(tmp_path / "a.trace", **changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"x" * 100, safetensors.torch.save({}), b"\xff" * 9])
def test_what_is_no_trace(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.trace").write_bytes(content)
    with pytest.raises(LoadError, match="is no trace"):
        load_trace(tmp_path / "a.trace")
    with pytest.raises(LoadError, match="no trace: No such file"):
        load_trace(tmp_path / "b.trace")
