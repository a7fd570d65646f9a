"""Videos, volumes and signals that are small as files, huge in memory, or no files at all."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from tests.security.refusal import canary, outcome
from vitrail.data.recording_inputs import fit_recording
from vitrail.data.videos import open_video
from vitrail.data.volumes import open_volume
from vitrail.preprocess import Preprocess

nibabel = pytest.importorskip("nibabel")
pytest.importorskip("av")

SIZES = {"npy": (4, 8, 8), "nii": (4, 8, 8), "tif": (4, 8, 8), "wav": (8,), "csv": (8,)}
PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:{secret}\n#EXT-X-ENDLIST\n"


def read(path: Path, size: tuple[int, ...]) -> None:
    fit_recording(path, Preprocess(size, None, mean=(0.0,), std=(1.0,)))


def nifti(shape: tuple[int, ...], compressed: bool) -> bytes:
    """A NIfTI file whose header promises more than follows."""
    header = nibabel.Nifti1Header()
    header["dim"][: len(shape) + 1] = (len(shape), *shape)
    header["datatype"], header["bitpix"], header["vox_offset"] = 4, 16, 352
    data = header.binaryblock.replace(b"ni1\0", b"n+1\0") + bytes(1000)
    return gzip.compress(data) if compressed else data


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
@pytest.mark.parametrize("suffix", [*SIZES, "mp4"])
def test_what_is_no_regular_file(kind: str, suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"x.{suffix}"
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    else:
        file.mkdir()
    if suffix == "mp4":
        assert outcome(lambda: open_video(file)) is not None
    else:
        assert outcome(lambda: read(file, SIZES[suffix])) is not None


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("shape", [(32_767,) * 3, (-5, 5, 5), (0, 5, 5), (500, 500, 500)])
def test_volumes_that_promise_more_than_they_hold(
    shape: tuple[int, ...], compressed: bool, tmp_path: Path
) -> None:
    file = tmp_path / ("x.nii.gz" if compressed else "x.nii")
    file.write_bytes(nifti(shape, compressed))
    assert outcome(lambda: read(file, (4, 8, 8))) is not None


def test_a_mask_that_unfolds_is_allowed_by_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "x.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((300, 300, 140), np.uint8), np.eye(4)), file)
    problem = outcome(lambda: open_volume(file))
    assert "unfold to 12 million voxels" in str(problem)
    monkeypatch.setenv("VITRAIL_MAX_PIXELS", "12600000")
    assert open_volume(file).shape == (1, 140, 300, 300)


def test_slices_are_of_the_formats_that_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executed, command = canary(tmp_path)
    (tmp_path / "gs").write_text(f"#!/bin/sh\n{command}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    folder = tmp_path / "scan"
    folder.mkdir()
    for number in range(2):
        text = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n"
        (folder / f"{number}.png").write_text(text)
    assert outcome(lambda: open_volume(folder)) is not None
    assert not executed.exists()


@pytest.mark.parametrize("suffix", ["mp4", "ts"])
def test_playlists_lead_nowhere(suffix: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.ts"
    secret.write_bytes(bytes(188 * 100))
    file = tmp_path / f"x.{suffix}"
    file.write_text(PLAYLIST.format(secret=secret))
    assert outcome(lambda: open_video(file)) is not None
