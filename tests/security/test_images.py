"""Images that are small as files and huge as pixels: refused by their header, or cheap to read."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.security.refusal import canary, outcome
from vitrail.data.formats import ALLOWED
from vitrail.data.image_file import ImageFile
from vitrail.data.images import decode
from vitrail.errors import DataError

SHAPES = [  # width, height
    (12_000, 12_000), (5_000, 16_383), (100_000, 1), (1, 100_000), (2**31 - 1, 1), (0, 0),
    (2**31 - 1, 2**31 - 1), (13_300, 13_300),
]  # fmt: skip


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes, rows: int = 1, depth: int = 8) -> bytes:
    """A gray PNG whose data are cut short after some rows."""
    head = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    data = zlib.compress(bytes((min(width, 10**6) * depth // 8 + 1) * rows))
    chunks = [chunk(b"IHDR", head), *more, chunk(b"IDAT", data), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def bmp(width: int, height: int) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + 64, 0, 0, 54) + head + bytes(64)


def jpeg(width: int, height: int) -> bytes:
    frame = struct.pack(">BHHB", 8, height, width, 1) + b"\x01\x11\0"
    table = b"\0" + bytes([1] * 64)
    return (
        b"\xff\xd8\xff\xdb" + struct.pack(">H", 67) + table
        + b"\xff\xc0" + struct.pack(">H", 2 + len(frame)) + frame + b"\xff\xd9"
    )  # fmt: skip


def webp(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    data = b"\x2f" + struct.pack("<I", bits) + bytes(16)
    body = b"WEBPVP8L" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(width: int, height: int, entries: int = 1, following: int = 0) -> bytes:
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (278, height)]
    tags += [(279, 2**31 - 1), *((700 + number, 0) for number in range(entries - 1))]
    body = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + body + struct.pack("<I", following)


def unfolding(kind: bytes, before: bytes) -> bytes:
    """A chunk of text or of a color profile that unfolds to 40 MB."""
    return chunk(kind, before + zlib.compress(bytes(40_000_000), 9))


def bombs() -> Iterator[tuple[str, bytes]]:
    for width, height in SHAPES:
        yield f"png {width} x {height}", png(width, height)
        yield f"bmp {width} x {height}", bmp(width, height)
        yield f"ppm {width} x {height}", f"P6 {width} {height} 255 ".encode() + bytes(64)
    for width, height in ((65_500, 65_500), (13_000, 13_000), (65_500, 1), (9_000, 9_000)):
        yield f"jpeg {width} x {height}", jpeg(width, height)
        yield f"tiff {width} x {height}", tiff(width, height)
    for width, height in ((16_383, 16_383), (16_383, 5_000), (16_383, 1)):
        yield f"webp {width} x {height}", webp(width, height)
    yield "png of one bit", png(13_300, 13_300, depth=1)
    yield "png that tells of less", png(8, 8, rows=20_000)
    yield "png with long text", png(8, 8, unfolding(b"zTXt", b"a\0\0"))
    yield "png with long unicode", png(8, 8, unfolding(b"iTXt", b"a\0\1\0\0\0"))
    yield "png with a long profile", png(8, 8, unfolding(b"iCCP", b"a\0\0"))
    yield "png of many frames", png(8, 8, chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)))
    yield "tiff of many tags", tiff(8, 8, entries=5_000)
    yield "tiff that leads back", tiff(8, 8, following=8)
    yield "gif of many pixels", b"GIF89a\xff\xff\xff\xff\0\0\0," + bytes(8) + b"\x02\0;"
    yield "gif of many frames", b"GIF89a\x08\0\x08\0\0\0\0" + 20_000 * (
        b"," + struct.pack("<HHHH", 0, 0, 8, 8) + b"\0\x02\x01\0\0"
    ) + b";"  # fmt: skip
    yield "qoi", b"qoif" + struct.pack(">II", 40_000, 40_000) + b"\x03\0" + bytes(64)
    yield "npy", b"\x93NUMPY\x01\0v\0" + b"{'descr': '|u1', 'fortran_order': False, 'shape': " + (
        b"(99999, 99999), }".ljust(67) + b"\n"
    )  # fmt: skip
    yield "svg", b"<svg xmlns='http://www.w3.org/2000/svg' width='9e9' height='9e9'/>"
    yield "xml of laughs", b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "&c;&c;">]><a>&b;</a>'
    yield "eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n"


BOMBS = dict(bombs())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BOMBS)
def test_image_bombs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executed, command = canary(tmp_path)
    (tmp_path / "gs").write_text(f"#!/bin/sh\n{command}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    error = outcome(lambda: decode(BOMBS[name], 3, "x.png"))
    assert isinstance(error, DataError | None)
    assert not executed.exists()


def test_there_are_forty() -> None:
    assert len(BOMBS) >= 40


def test_limits_are_those_of_what_a_file_unfolds_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"x: \d+ bytes unfold to 25 megapixels, as in an attack"):
        ImageFile(png(5_000, 5_000), 3, "x")
    with pytest.raises(DataError, match="x: a TIFF of 5000 tags, as in an attack"):
        ImageFile(tiff(8, 8, entries=4_993), 3, "x")
    with pytest.raises(DataError, match="one side of 9000 x 8 pixels is more than 300 times"):
        ImageFile(png(9_000, 8), 3, "x")
    assert ImageFile(png(3_000, 4_000), 3, "x").width == 3_000  # any scan or mask
    assert ImageFile(png(8, 2_400), 3, "x").height == 2_400
    assert ImageFile(png(5_000, 5_000) + bytes(800_000), 3, "x").width == 5_000  # a photograph
    monkeypatch.setenv(ALLOWED, "25000000")
    assert ImageFile(png(5_000, 5_000), 3, "x").width == 5_000
    with pytest.raises(DataError, match="26 megapixels are more than the limit of 25"):
        ImageFile(png(5_200, 5_000), 3, "x")
    monkeypatch.setenv(ALLOWED, "many")
    with pytest.raises(DataError, match="VITRAIL_MAX_PIXELS='many' is no number of pixels"):
        ImageFile(png(8, 8), 3, "x")
