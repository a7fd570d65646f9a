"""Paths that indexes, tables and captions name, and files that are no regular files."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.security.refusal import SECRET, outcome
from vitrail.data.image_folders import open_captioned
from vitrail.data.manifests import open_manifest
from vitrail.errors import ConfigError, DataError, LoadError
from vitrail.hub.load import load
from vitrail.hub.model_folder import read_file, read_model_config, read_weights, shards
from vitrail.lens.trace_file import load_trace
from vitrail.manifest import check_manifest, hashed_folder

# What a file names, written as JSON; OUTSIDE stands for the absolute path of another folder.
NAMES: list[Any] = [
    "../secret.png", "a/../../secret.png", "./../secret.png", "a/b/../../../secret.png",
    "OUTSIDE/secret.png", "OUTSIDE", "/etc/passwd", "/dev/zero", "//etc/passwd", "/", "..", ".",
    "../..", "a/..", "link.png", "folder/secret.png", "chain.png", "a/../link.png",
    "", " ", "a\0b", "../\0", "./", "OUTSIDE/data/../secret.png",
]  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with links out of it."""
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "secret.png").write_text(SECRET)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "chain.png").symlink_to(folder / "link.png")
    (folder / "folder").symlink_to(tmp_path)
    return folder


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_tables_and_captions_stay_in_their_folder(name: str, data: Path) -> None:
    name = name.replace("OUTSIDE", str(data.parent))
    rows = [{"file_name": name, "text": "x", "label": "a"}] * 2
    (data / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for action in (
        lambda: open_captioned(str(data))["train"](),
        lambda: open_manifest(f"{data / 'metadata.jsonl'}?path=file_name"),
    ):
        assert isinstance(outcome(action), DataError)


def test_permission_and_paths_inside(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["link.png", str(data / "2.png"), "a/../3.png"]
    lines = [json.dumps({"file_name": name, "text": "x"}) for name in names]
    (data / "metadata.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match="a link out of .*: set VITRAIL_FOLLOW_LINKS=1"):
        open_captioned(str(data))["train"]()
    monkeypatch.setenv("VITRAIL_FOLLOW_LINKS", "1")
    assert len(open_captioned(str(data))["train"]()) == 3
    table = data / "table.csv"
    table.write_text(f"path,label\n{data.parent / 'secret.png'},a\nsecret.png,b\n")
    with pytest.raises(DataError, match="name a root=FOLDER"):
        open_manifest(str(table))
    assert len(open_manifest(f"{table}?root=..")["train"]()) == 2


INDEXES = [
    {"weight_map": {"a": "../secret.safetensors"}},
    {"weight_map": {"a": "OUTSIDE/secret.safetensors"}},
    {"weight_map": {"a": "/etc/passwd"}},
    {"weight_map": {"a": "sub/x.safetensors"}},
    {"weight_map": {"a": "..", "b": "."}},
    {"weight_map": {"a": ""}},
    {"weight_map": {"a": "a\0b"}},
    {"weight_map": {"a": 5}},
    {"weight_map": {"a": None}},
    {"weight_map": {"a": ["x"]}},
    {"weight_map": {"a": {"b": "c"}}},
    {"weight_map": {"a": "absent.safetensors"}},
    {"weight_map": {"a": "pipe.safetensors"}},
    {"weight_map": {"a": "folder"}},
    {"weight_map": ["a"]},
    {"weight_map": None},
    {"weight_map": 5},
    {},
    [],
    5,
    "text",
    None,
]
RAW_INDEXES = [
    b"", b"{", b"[" * 100_000, b'{"a":' * 3000, b"\xff\xfe", b"\0" * 10, b"9" * 5000,
    b'{"weight_map": {"a": "x"}, "weight_map": {"a": "../secret.safetensors"}}',
    b'{"weight_map": {"a": "\\u001b[31m"}}',
]  # fmt: skip


@pytest.mark.parametrize("index", [*INDEXES, *RAW_INDEXES], ids=lambda value: repr(value)[:40])
def test_indexes(index: Any, data: Path) -> None:
    (data.parent / "secret.safetensors").write_text(SECRET)
    os.mkfifo(data / "pipe.safetensors")
    text = index if isinstance(index, bytes) else json.dumps(index).encode()
    content = text.replace(b"OUTSIDE", str(data.parent).encode())
    (data / "model.safetensors.index.json").write_bytes(content)
    assert isinstance(outcome(lambda: read_weights(data)), LoadError)
    outcome(lambda: shards(data))


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("config.json", read_model_config),
        ("model.safetensors", lambda folder: read_file(folder / "model.safetensors")),
        ("model.safetensors.index.json", read_weights),
        ("metadata.jsonl", lambda folder: open_captioned(str(folder))["train"]()),
        ("labels.csv", lambda folder: open_manifest(str(folder / "labels.csv"))),
        ("manifest.json", check_manifest),
        ("x.trace", lambda folder: load_trace(folder / "x.trace")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_regular_file(
    kind: str, name: str, read: Callable[[Path], Any], tmp_path: Path
) -> None:
    file = tmp_path / name
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    else:
        file.mkdir()
    assert outcome(lambda: read(tmp_path)) is not None


def test_manifests_name_regular_files(tmp_path: Path) -> None:
    with hashed_folder(tmp_path / "model") as writer:
        writer.write("a", "text")
    (tmp_path / "model" / "a").unlink()
    os.mkfifo(tmp_path / "model" / "a")
    assert "no regular file" in str(outcome(lambda: check_manifest(tmp_path / "model")))
    (tmp_path / "model" / "manifest.json").write_text('{\n "sha256": {\n  "a\\u0000": "0"\n }\n}')
    assert "is damaged" in str(outcome(lambda: check_manifest(tmp_path / "model")))


@pytest.mark.parametrize("name", ["x" * 5000, "x/" * 3000, "~nobody-of-this-name/x", "a\0b"])
def test_names_that_no_system_has(name: str) -> None:
    assert isinstance(outcome(lambda: load(name)), LoadError | ConfigError)


HEADERS = [
    {"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}},
    {"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}},
    {"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
    {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 10**18]}},
    {"a": {"dtype": "F32", "shape": [10**18], "data_offsets": [0, 8]}},
    {"a": {"dtype": "F32", "shape": [2**63, 2], "data_offsets": [0, 8]}},
    {"a": {"dtype": "F32", "shape": [2.0], "data_offsets": [0, 8]}},
    {"a": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}},
    {"a": {"dtype": "F32", "shape": "2", "data_offsets": [0, 8]}},
    {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0]}},
    {"a": {"dtype": "F32", "shape": [2]}},
    {"a": 5},
    {"\x1b[31m": 5},
    [],
    None,
    b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, '
    b'"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
    b"[" * 100_000,
    b"\xff" * 10,
    b"",
]


@pytest.mark.parametrize("header", HEADERS, ids=lambda value: repr(value)[:60])
def test_headers_of_safetensors(header: Any, tmp_path: Path) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    assert isinstance(outcome(lambda: read_file(file)), LoadError)
    for length in (2**64 - 1, 10**9, len(text) + 9):
        file.write_bytes(length.to_bytes(8, "little") + text + bytes(8))
        assert isinstance(outcome(lambda: read_file(file)), LoadError)
