"""What a live page is made of: a graph that was checked, and files that are known."""

import subprocess
from pathlib import Path

import pytest
import torch

import vitrail
from tests.explorer.conftest import tiny_vit
from vitrail.errors import ConfigError, VitrailError
from vitrail.explorer import live
from vitrail.explorer.documents import Explorer
from vitrail.explorer.runtime import FILES, copy_runtime


def test_the_graph_is_checked_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript")
    model = tiny_vit()
    about = live.write_live_model(Explorer(model, "ViT"), tmp_path / "model.onnx")
    assert about["difference"] < 1e-5 and about["grid"] == [4, 4] and about["lens"]
    assert [row["key"] for row in about["layers"]] == ["0", "1", "2"]
    assert about["bytes"] == (tmp_path / "model.onnx").stat().st_size
    assert str(Path(vitrail.__file__).parent).encode() not in (tmp_path / "model.onnx").read_bytes()
    with torch.no_grad():
        values, patches, lens, *weights = live.LiveModel(
            model,
            Explorer(model, "ViT").layouts,  # type: ignore[arg-type]
        )(torch.zeros(1, 3, 32, 32))
        torch.testing.assert_close(values, model(torch.zeros(1, 3, 32, 32)).softmax(1))
    assert patches.shape == (1, 16, 16) and lens.shape == (3, 3) and len(weights) == 3
    monkeypatch.setattr(live, "TOLERANCE", 1e-12)
    with pytest.raises(VitrailError, match="leave --live out"):
        live.write_live_model(Explorer(model, "ViT"), tmp_path / "other.onnx")


def test_other_files_of_onnxruntime_are_refused(tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).write_bytes(b"another")
    with pytest.raises(ConfigError, match="is not that of onnxruntime-web@"):
        copy_runtime(tmp_path / "page", tmp_path)
    assert not (tmp_path / "page").exists()


def test_npm_that_does_not_answer_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(ConfigError, match="npm is not installed: install Node"):
        copy_runtime(tmp_path)
    monkeypatch.setattr("shutil.which", lambda _name: "npm")
    failed = subprocess.CompletedProcess([], 1, "", "npm error code ENOTFOUND\nmore")
    monkeypatch.setattr("subprocess.run", lambda *_args, **_options: failed)
    with pytest.raises(ConfigError, match="ENOTFOUND") as problem:
        copy_runtime(tmp_path)
    assert "\n" not in str(problem.value)
