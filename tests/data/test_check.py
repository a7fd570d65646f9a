"""The decoding check finds damage, remembers files, and leaves their folder alone."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vitrail.data.check import check
from vitrail.data.dataset import Verdict
from vitrail.data.folder_dataset import FolderDataset
from vitrail.data.images import ImageFile
from vitrail.data.splits import drop_unreadable
from vitrail.errors import DataError


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderDataset:
    monkeypatch.setenv("VITRAIL_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "photos"
    root.mkdir()
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"{i}.{'png' if i % 2 else 'jpg'}")
    paths = sorted(root.iterdir())
    return FolderDataset(root, paths, [0, 0, 1, 1], ["a", "b"])


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    examine = FolderDataset.examine

    def counted(dataset: FolderDataset, index: int) -> Verdict:
        names.append(dataset.files[index].name)
        return examine(dataset, index)

    monkeypatch.setattr(FolderDataset, "examine", counted)
    return names


def test_files_are_decoded_once_and_again_when_they_change(
    files: FolderDataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = decoded(monkeypatch)
    assert check(files) == {}
    assert sorted(names) == ["0.jpg", "1.png", "2.jpg", "3.png"]
    names.clear()
    assert check(files) == {} and names == []
    files.files[2].write_bytes(files.files[2].read_bytes()[:300])
    assert check(files)[2].reason.startswith("damaged JPEG")
    assert names == ["2.jpg"]
    names.clear()
    assert check(files)[2].reason.startswith("damaged JPEG") and names == []
    stat = files.files[1].stat()
    os.utime(files.files[1], ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    check(files.with_pixels(3, None))
    assert names == ["1.png"]
    names.clear()
    check(files.with_pixels(1, None))  # other pixels are another question
    assert len(names) == 4
    assert sorted(p.name for p in files.root.iterdir()) == ["0.jpg", "1.png", "2.jpg", "3.png"]


def test_a_damaged_or_missing_cache_is_no_obstacle(
    files: FolderDataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    check(files)
    [cache] = (tmp_path / "cache" / "checked").iterdir()
    cache.write_text('{"version": 1, "files": ')
    names = decoded(monkeypatch)
    assert check(files) == {} and len(names) == 4
    monkeypatch.setenv("VITRAIL_CACHE", "/proc/nowhere")
    assert check(files) == {}


def test_every_flipped_bit_of_a_png_is_found(files: FolderDataset) -> None:
    whole = files.files[1].read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.integers(whole.index(b"IDAT") + 4, len(whole) - 16, 300):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.integers(8)
        files.files[1].write_bytes(bytes(damaged))
        assert files.why_unreadable(1).startswith("damaged PNG"), position


def test_odd_files_are_taken_and_named(files: FolderDataset) -> None:
    data = files.files[0].read_bytes()
    files.files[0].write_bytes(data[:-2] + b"\0" * 50 + b"\xff\xd9")
    dataset = drop_unreadable(files)
    assert len(dataset) == 4 and not dataset.bad_images
    assert "extraneous bytes" in dataset.odd_images[0].reason
    assert dataset.subset([0, 1]).odd_images == dataset.odd_images


def test_of_a_tiff_of_several_pages_the_first_is_read_and_the_others_are_told_of(
    tmp_path: Path,
) -> None:
    pages = [Image.new("L", (8, 8), 40 * number) for number in range(3)]
    pages[0].save(tmp_path / "one.tif")
    pages[1].save(tmp_path / "stack.tif", save_all=True, append_images=pages)
    paths = [tmp_path / "one.tif", tmp_path / "stack.tif"]
    dataset = FolderDataset(tmp_path, paths, [0, 0], ["a"])
    remarks = [dataset.examine(index).remark for index in range(2)]
    assert remarks == ["", "4 pages, of which the first is read"]


def test_progress_counts_what_was_known(files: FolderDataset) -> None:
    calls: list[tuple[int, int]] = []
    check(files, lambda *call: calls.append(call))
    assert calls[-1] == (4, 4)
    calls.clear()
    check(files, lambda *call: calls.append(call))
    assert calls == [(4, 4)]


def test_names_need_not_be_text(files: FolderDataset) -> None:
    odd = os.fsdecode(os.fsencode(files.root) + b"/\xc3\xa8\xff\xb1.jpg")
    os.rename(files.files[0], odd)
    files = FolderDataset(files.root, [Path(odd), *files.files[1:]], [0, 0, 1, 1], ["a", "b"])
    assert check(files) == {} == check(files)
    Path(odd).write_bytes(b"")
    assert check(files) == {0: Verdict("the file is empty")}


def test_a_file_that_is_added_removed_or_replaced_is_noticed(
    files: FolderDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again() -> FolderDataset:
        paths = sorted(files.root.iterdir())
        return FolderDataset(files.root, paths, [0] * len(paths), ["a"])

    (files.root / "2.jpg").write_bytes(b"")
    empty = {2: Verdict("the file is empty")}
    assert check(again()) == empty == check(again())
    names = decoded(monkeypatch)
    (files.root / "1.png").unlink()
    assert check(again()) == {1: Verdict("the file is empty")} == check(again())
    assert names == []
    (files.root / "4.jpg").write_bytes((files.root / "0.jpg").read_bytes())
    assert check(again()) == {1: Verdict("the file is empty")} == check(again())
    assert names == ["4.jpg"]
    size = (files.root / "0.jpg").stat().st_size  # the same, as is the folder's time
    (files.root / "0.jpg").write_bytes(b"x" * size)
    assert 0 in check(again())


def test_entries_of_single_files_are_not_read_where_the_whole_set_is_known(
    files: FolderDataset, tmp_path: Path
) -> None:
    check(files)
    [cache] = (tmp_path / "cache" / "checked").iterdir()
    cache.write_text(cache.read_text().splitlines()[0] + "\ndamaged")
    assert check(files) == {}
    assert check(files.subset([0])) == {}  # another set


def test_a_link_to_nowhere_is_named_each_time(files: FolderDataset) -> None:
    files.files[3].unlink()
    files.files[3].symlink_to("nowhere")
    for _ in range(2):
        assert "No such file" in check(files)[3].reason
    with pytest.raises(DataError, match="1 of 4 images cannot be read"):
        drop_unreadable(files)


def test_jpegs_are_judged_without_all_their_pixels(files: FolderDataset) -> None:
    file = io.BytesIO()
    Image.new("RGB", (800, 800)).save(file, "JPEG")
    image = ImageFile(file.getvalue(), 3, "x")
    shapes: list[Any] = []
    read = image._read_jpeg
    image._read_jpeg = lambda *how: shapes.append(read(*how).shape) or read(*how)  # type: ignore
    image.verify()
    assert shapes == [(100, 100, 3)]
