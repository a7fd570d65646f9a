"""Shards on a server of HTTP and on a file system of fsspec: copied once, and read there."""

import functools
import http.server
import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from vitrail.data import remote_shards
from vitrail.data.loader import Loader, canvas
from vitrail.data.registry import open_dataset
from vitrail.data.shard_writer import pack
from vitrail.errors import DataError


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, counts requests, and fails as often as it is told."""

    requests: ClassVar[Counter[str]] = Counter()
    failures: ClassVar[Counter[str]] = Counter()  # of the next requests of a name
    cut: ClassVar[Counter[str]] = Counter()  # answers that end in their middle

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        self.requests[name] += 1
        if self.failures[name] > 0:
            self.failures[name] -= 1
            self.send_error(503)
        elif self.cut[name] > 0:
            self.cut[name] -= 1
            data = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: len(data) // 2])
        else:
            super().do_GET()

    def log_message(self, *_arguments: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """The digits in four shards, two of them for the test."""
    digits = {split: open_dataset("digits", split, limit=40) for split in ("train", "test")}
    pack(digits, tmp_path / "data", shard_size=1)
    for split in digits:  # shards of one MiB would hold all of them
        part = open_dataset(f"shards:{tmp_path / 'data'}", split)
        for number in range(2):
            half = part.subset(range(number * 20, number * 20 + 20))
            [path] = pack({split: half}, tmp_path / "parts" / f"{split}{number}")
            path.rename(tmp_path / f"{split}-{number}.tar")
    names = sorted(path.name for path in tmp_path.glob("*.tar"))
    for path in (*(tmp_path / "data").glob("*.tar"),):
        path.unlink()
    for name in names:
        (tmp_path / name).rename(tmp_path / "data" / name)
    (tmp_path / "data" / "dataset.json").unlink()
    return tmp_path / "data"


@pytest.fixture
def server(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("VITRAIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_shards, "RETRY_SECONDS", 0.0)
    for counter in (Handler.requests, Handler.failures, Handler.cut):
        counter.clear()
    handler = functools.partial(Handler, directory=str(shards))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as one:
        thread = threading.Thread(target=one.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{one.server_address[1]}"
        one.shutdown()
        thread.join()


def test_folders_patterns_and_ranges_are_copied_once(
    server: str, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = open_dataset(f"shards:{shards}")
    keys = [here.key(i) for i in range(len(here))]
    for spec in (server, f"{server}/train-*.tar", f"{server}/train-{{0..1}}.tar"):
        dataset = open_dataset(f"shards:{spec}")
        assert [dataset.key(i) for i in range(40)] == keys
        assert dataset.labels == here.labels and dataset.targets() == here.targets()
    assert len(open_dataset(f"shards:{server}", "test")) == 40
    tars = {name: n for name, n in Handler.requests.items() if name.endswith(".tar")}
    assert tars == {f"{split}-{n}.tar": 1 for split in ("train", "test") for n in (0, 1)}
    assert capsys.readouterr().err.count("copying 4 shards to ") == 1


def test_a_server_that_fails_once_is_asked_again(server: str) -> None:
    Handler.failures["train-0.tar"], Handler.cut["train-1.tar"] = 1, 1
    assert len(open_dataset(f"shards:{server}/train-{{0..1}}.tar")) == 40
    assert Handler.requests["train-0.tar"] == Handler.requests["train-1.tar"] == 2


def test_what_cannot_be_had_is_one_line_or_left_out(server: str, shards: Path) -> None:
    Handler.failures["train-0.tar"], Handler.cut["train-1.tar"] = 9, 9
    pattern = f"shards:{server}/t{{rain-0,rain-1,rain-7,est-0}}.tar"
    with pytest.raises(DataError, match="train-0.tar: cannot be copied .*503") as problem:
        open_dataset(f"shards:{server}/train-{{0..1}}.tar")
    assert "\n" not in str(problem.value)
    with pytest.raises(DataError, match="train-0.tar: .*and 2 more"):  # nothing of a split is left
        open_dataset(pattern, "test", bad_images="skip")
    Handler.failures["train-0.tar"] = 0
    dataset = open_dataset(pattern, "train", bad_images="skip")
    assert len(dataset) == 20
    reasons = {bad.name.rpartition("/")[2]: bad.reason for bad in dataset.bad_images}
    assert "ends after" in reasons["train-1.tar"] or "early" in reasons["train-1.tar"]
    assert reasons["train-7.tar"] == "is not there"
    assert not list(shards.parent.rglob("*.part"))
    for wrong, message in (
        ("http://127.0.0.1:1/a.tar", "a.tar: cannot be copied .*refused"),
        (f"{server}/*/a.tar", "name of a folder"),
        (f"{server}/nothing", "cannot be listed .*404|no tar files"),
        ("nosuch://host/a.tar", "a.tar: cannot be copied"),
        (f"{server}/../a.tar", "without '..'"),
    ):
        with pytest.raises(DataError, match=message) as problem:
            open_dataset(f"shards:{wrong}")
        assert "\n" not in str(problem.value)


def test_changed_shards_are_copied_again_and_copies_do_without_a_server(
    server: str, shards: Path
) -> None:
    assert len(open_dataset(f"shards:{server}/train-0.tar")) == 20
    (shards / "train-0.tar").write_bytes((shards / "test-0.tar").read_bytes() + bytes(512))
    changed = open_dataset(f"shards:{server}/train-0.tar")
    assert Handler.requests["train-0.tar"] == 2
    other = open_dataset(f"shards:{shards}/test-0.tar", "test")
    assert [changed.key(i) for i in range(20)] == [other.key(i) for i in range(20)]
    os.utime(shards / "train-0.tar", (1, 1))  # of the same size
    open_dataset(f"shards:{server}/train-0.tar")
    assert Handler.requests["train-0.tar"] == 3
    gone = "http://127.0.0.1:1"
    place = remote_shards._copy_path(f"{server}/train-0.tar")
    copy = remote_shards._copy_path(f"{gone}/train-0.tar")
    copy.parent.mkdir(parents=True)
    for suffix in ("", ".state"):
        copy.with_name(copy.name + suffix).write_bytes(
            place.with_name(place.name + suffix).read_bytes()
        )
    assert len(open_dataset(f"shards:{gone}/train-0.tar")) == 20


def test_files_beside_the_shards_are_those_that_the_server_has_now(
    server: str, shards: Path
) -> None:
    plain = open_dataset(f"shards:{server}").labels
    (shards / "classes.txt").write_text("\n".join("abcdefghij"))
    assert open_dataset(f"shards:{server}").labels == [*"abcdefghij"]
    (shards / "classes.txt").unlink()
    assert open_dataset(f"shards:{server}").labels == plain


def test_a_description_names_shards_of_its_own_folder_only(server: str, shards: Path) -> None:
    names = ("train-0.tar", "elsewhere/train-1.tar")
    for listed, length in ((names[:1], 20), (names, 40)):  # the server lists its own two
        (shards / "dataset.json").write_text(json.dumps({"shards": dict.fromkeys(listed, 20)}))
        assert len(open_dataset(f"shards:{server}")) == length


@pytest.mark.parametrize("workers", [0, 3])
def test_processes_workers_and_resume_are_those_of_local_shards(
    server: str, shards: Path, workers: int
) -> None:
    def batches(source: str, rank: int, workers: int, start: int = 0) -> list[list[int]]:
        dataset = open_dataset(f"shards:{source}").subset(range(37))
        loader = Loader(dataset, 6, canvas(8, 1), seed=3, workers=workers, shard=(rank, 2),
                        deals=True)  # fmt: skip
        return [batch.indices.tolist() for batch in loader.epoch(1, start)]

    ranks = [batches(server, rank, workers) for rank in range(2)]
    assert sorted(i for rank in ranks for batch in rank for i in batch) == list(range(37))
    assert batches(str(shards), 1, 0) == ranks[1]


def test_file_systems_of_fsspec(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setenv("VITRAIL_CACHE", str(tmp_path / "cache"))
    system = fsspec.filesystem("memory")
    for path in shards.iterdir():
        system.pipe_file(f"/digits/{path.name}", path.read_bytes())
    for spec in ("memory://digits", "memory://digits/t*.tar", "memory://digits/train-{0..1}.tar"):
        assert len(open_dataset(f"shards:{spec}")) == 40
    system.rm("/digits", recursive=True)
    with pytest.raises(DataError, match="train-5.tar: is not there"):
        open_dataset("shards:memory://digits/train-5.tar")
