"""Weights in pickles: nothing that they name is called."""

import argparse
import io
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.security.refusal import canary, outcome
from vitrail.errors import LoadError
from vitrail.hub.load import load
from vitrail.hub.other_libraries import read_tensors
from vitrail.hub.torchscript import read_torchscript


class _Call:
    """Pickled as a call."""

    def __init__(self, function: Callable[..., Any] | str, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


def _global(module: str, name: str, argument: str) -> bytes:
    """A call of protocol 0, of what cannot be imported here as well."""
    return f"c{module}\n{name}\n(V{argument}\ntR.".encode()


CALLS = [
    ("os", "system"), ("posix", "system"), ("subprocess", "getoutput"), ("subprocess", "Popen"),
    ("builtins", "eval"), ("builtins", "exec"), ("builtins", "__import__"), ("builtins", "open"),
    ("builtins", "getattr"), ("importlib", "import_module"), ("runpy", "run_path"),
    ("timeit", "timeit"), ("torch", "load"), ("torch.hub", "load_state_dict_from_url"),
    ("torch.jit", "load"), ("numpy", "load"), ("pathlib", "Path.touch"), ("shutil", "rmtree"),
    ("functools", "partial"), ("operator", "attrgetter"), ("webbrowser", "open"),
    ("vitrail.plugins", "load_plugin"), ("vitrail.hub.load", "load"), ("__main__", "x"),
]  # fmt: skip
RAW = {
    "empty": b"",
    "stop": b".",
    "none": b"N.",
    "number": pickle.dumps(5),
    "list": pickle.dumps([1]),
    "text": pickle.dumps("x"),
    "deep": b"(" * 20_000 + b".",
    "deep-lists": b"]" * 20_000 + b"a" * 19_999 + b".",
    "memo": b"Nr\xff\xff\xff\x7f.",
    "long": b"\x8b\xff\xff\xff\x7f.",
    "unicode": b"\x8d" + b"\xff" * 8 + b".",
    "frame": b"\x80\x04\x95" + b"\xff" * 8 + b".",
    "dict-of-numbers": pickle.dumps({"a": 1}),
    "persistent": b"Pstorage\n.",
    "extension": b"\x82\x01.",
    "inst": b"(Vtouch\nios\nsystem\n.",
}


def _archive(data: bytes, *, torchscript: bool, compressed: bool = False) -> bytes:
    stream = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(stream, "w", kind) as archive:
        archive.writestr("model/data.pkl", data)
        archive.writestr("model/version", "3")
        archive.writestr("model/data/0", bytes(16))
        if torchscript:
            archive.writestr("model/constants.pkl", b"\x80\x02).")
    return stream.getvalue()


def _pickles(command: str) -> Iterator[tuple[str, bytes]]:
    for module, name in CALLS:
        yield f"{module}.{name}", _global(module, name, command)
    yield from RAW.items()


@pytest.mark.parametrize("form", ["pickle", "zip", "torchscript"])
def test_hostile_pickles(form: str, tmp_path: Path) -> None:
    executed, command = canary(tmp_path)
    count = 0
    for name, data in _pickles(command):
        file = tmp_path / "model.pth"
        wrapped = _archive(data, torchscript=form == "torchscript")
        file.write_bytes(data if form == "pickle" else wrapped)
        assert isinstance(outcome(lambda path=file: read_tensors(path)), LoadError), name
        assert not executed.exists(), name
        count += 1
    assert count >= 40


def test_saved_objects_are_not_called(tmp_path: Path) -> None:
    executed, command = canary(tmp_path)
    file = tmp_path / "model.pth"
    for value in (nn.Linear(1, 1), {"model": _Call(exec, f"import os; os.system({command!r})")}):
        for zipped in (True, False):
            torch.save(value, file, _use_new_zipfile_serialization=zipped)
            problem = outcome(lambda: load(file))
            assert "cannot be read safely" in str(problem)
            assert "weights_only" not in str(problem)  # torch's advice to load it all the same
    assert not executed.exists()


def test_a_command_line_beside_the_weights_is_data(tmp_path: Path) -> None:
    content = {"model": {"x": torch.ones(2)}, "args": argparse.Namespace(lr=0.1)}
    torch.save(content, tmp_path / "model.pth")
    assert read_tensors(tmp_path / "model.pth")["x"].tolist() == [1, 1]
    assert argparse.Namespace not in torch.serialization.get_safe_globals()


class Tower(nn.Module):
    """With what archives of CLIP hold: nested modules, a buffer, half precision, numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 2)
        self.blocks = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("size", torch.tensor(224))
        self.sizes: list[int] = [1, 2]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.blocks(self.conv(x).mean((2, 3))) * self.scale


@pytest.mark.filterwarnings("ignore")
def test_torchscript_is_read_as_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = Tower().half()
    torch.jit.save(torch.jit.script(module), tmp_path / "clip.pt")
    monkeypatch.setattr(torch.jit, "load", None)
    tensors = read_tensors(tmp_path / "clip.pt")
    expected = module.state_dict()
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())
    assert tensors["conv.weight"].dtype == torch.float16


STORAGE = b"(Vstorage\nctorch\nFloatStorage\nV0\nVcpu\nI4\ntQ"
TENSORS = {
    "outside": b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"I9\n(I4\nt(I1\nttR",
    "repeated": b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"I0\n(I999999\nt(I0\nttR",
    "negative": b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"I0\n(I-4\nt(I1\nttR",
    "code": b"c__torch__\n__init__\n(Vx\ntR",
}


@pytest.mark.parametrize("tensor", TENSORS.values(), ids=TENSORS)
def test_hostile_tensors_of_archives(tensor: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    module = b"c__torch__\nModel\n)\x81(Vx\n" + tensor + b"db."
    file.write_bytes(_archive(module, torchscript=True))
    assert isinstance(outcome(lambda: read_torchscript(file)), LoadError)


def test_archives_that_unfold(tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    file.write_bytes(_archive(bytes(10**6), torchscript=True, compressed=True))
    assert "compressed" in str(outcome(lambda: read_torchscript(file)))
    module = b"c__torch__\nModel\n)\x81q\x00(Vx\nh\x00db."  # one that is inside itself
    file.write_bytes(_archive(module, torchscript=True))
    assert "no module" in str(outcome(lambda: read_torchscript(file)))
