"""config.json of model folders from strangers: nothing is built of what weights do not hold."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from tests.security.refusal import SECRET, canary, outcome
from vitrail.hub.load import load
from vitrail.hub.model_folder import save
from vitrail.models.vit import ViT


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tiny = ViT(8, 4, num_classes=3, dim=8, depth=1, heads=2, mlp_dim=8)
    return save(tiny, tmp_path_factory.mktemp("model") / "model")


# (path of an entry, value); the entry goes where the value is REMOVED.
REMOVED = "REMOVED"
HOSTILE: list[tuple[str, Any]] = [
    *(("keywords.dim", value) for value in (10**9, 10**30, -8, 0, 7, "8", None, True, 8.5, [8])),
    *(("keywords.depth", value) for value in (10**6, 10**9, -1, 0, "1", None, [1] * 10**5, 1e9)),
    *(("keywords.heads", value) for value in (0, -2, 3, 10**6, "2", {})),
    *(("keywords.image_size", v) for v in (10**6, 10**9, [8] * 1000, 0, -8, [8, 10**9], "8")),
    *(("keywords.patch_size", value) for value in (0, -4, 10**9, [4, 0], "4", 1e-9)),
    *(("keywords.num_classes", value) for value in (10**9, -1, 4, "3", None)),
    *(("keywords.mlp_dim", value) for value in (10**9, -8, float("nan"), float("inf"))),
    ("keywords.dropout", float("nan")),
    ("keywords.dropout", 2),
    ("keywords.pool", "os.system"),
    ("keywords.pool", {"a": 1}),
    ("keywords.no_such", 1),
    ("keywords.\x1b[31m", 1),
    ("keywords.self", 1),
    ("keywords.__class__", "x"),
    ("keywords", REMOVED),
    ("keywords", []),
    ("keywords", "dim"),
    ("keywords", None),
    ("architecture", REMOVED),
    ("architecture", "os.system"),
    ("architecture", "../ViT"),
    ("architecture", ["ViT"]),
    ("architecture", None),
    ("version", 99),
    ("version", REMOVED),
    ("preprocess", []),
    ("preprocess", REMOVED),
    ("preprocess.no_such", 1),
    ("preprocess.std", [0, 0, 0]),
    ("preprocess.std", [float("nan")] * 3),
    ("preprocess.mean", [float("nan")] * 3),
    ("preprocess.mean", "x"),
    ("preprocess.size", [10**9, 10**9]),
    ("preprocess.size", [-1, 8]),
    ("preprocess.interpolation", "eval"),
    ("labels", ["a"]),
    ("labels", ["a"] * 1000),
    ("labels", "abc"),
    ("labels", 5),
    ("format", 5),
    ("format", REMOVED),
]


@pytest.mark.parametrize(("path", "value"), HOSTILE, ids=lambda value: repr(value)[:30])
def test_hostile_configs(path: str, value: Any, model: Path, tmp_path: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    *parents, last = path.split(".")
    section = config[parents[0]] if parents else config
    if value == REMOVED:
        section.pop(last)
    else:
        section[last] = value
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    assert outcome(lambda: load(tmp_path)) is not None


RAW = [
    b"", b"{", b"[]", b"5", b"null", b'"text"', b"[" * 100_000, b'{"a":' * 5000, b"\xff\xfe\0",
    b"9" * 5000, b'{"format": "vitrail", "format": "x"}', b"{}" + b" " * 2**24, b"\0" * 100,
    b'{"format": "vitrail", "version": 1e999}', SECRET.encode(),
    b'{"model_type": "vit"}', b'{"model_type": ["vit"]}', b'{"model_type": {"a": 1}}',
    b'{"architecture": "vit_tiny_patch16_224", "pretrained_cfg": 5}',
    b'{"architecture": 5, "pretrained_cfg": {}}',
    b'{"model_type": "vit", "hidden_size": 1000000000}',
    b'{"model_type": "vit", "num_hidden_layers": 1000000000}',
    b'{"model_type": "vit", "auto_map": {"AutoModel": "evil.Model"}, "hidden_size": "x"}',
]  # fmt: skip


@pytest.mark.parametrize("content", RAW, ids=lambda value: repr(value)[:30])
def test_files_that_are_no_configs(content: bytes, model: Path, tmp_path: Path) -> None:
    executed, command = canary(tmp_path)
    (tmp_path / "evil.py").write_text(f"import os; os.system({command!r})")
    (tmp_path / "config.json").write_bytes(content)
    (tmp_path / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    assert outcome(lambda: load(tmp_path)) is not None
    assert not executed.exists()


def test_weights_of_another_size_are_refused_before_anything_is_built(
    model: Path, tmp_path: Path
) -> None:
    config = json.loads((model / "config.json").read_text())
    weights = safetensors.torch.load_file(model / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    for name in ("norm.weight", "head.weight"):
        changed = {**weights, name: torch.zeros(5)}
        (tmp_path / "model.safetensors").write_bytes(safetensors.torch.save(changed))
        problem = outcome(lambda: load(tmp_path))
        assert f"{name} is (5,)" in str(problem)
