"""Decoding: every kind of file that people have, on a fixed scale, within limits."""

import contextlib
import io
import struct
import warnings
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageOps

from vitrail.data.formats import SUFFIXES, is_image_name, pillow
from vitrail.data.images import ImageFile, decode, find_images, from_pillow
from vitrail.errors import DataError


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def npy(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, pixels)
    return file.getvalue()


def gray16(value: int) -> bytes:
    return encoded(Image.fromarray(np.full((30, 40), value, np.uint16)), "PNG")


@pytest.fixture(scope="module")
def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8))


class TestFormats:
    @pytest.mark.parametrize(
        "kind",
        ["AVIF", "JPEG2000", "TGA", "ICO", "GIF", "BMP", "PPM", "PCX", "SGI", "QOI", "DDS", "WEBP"],
    )
    def test_the_content_decides(self, noise: Image.Image, kind: str) -> None:
        data = encoded(noise.resize((16, 16)), kind)
        assert decode(data, 3, "named.jpg").shape == (3, 16, 16)

    def test_heic_is_read_by_its_plugin(self, noise: Image.Image, monkeypatch: Any) -> None:
        pytest.importorskip("pillow_heif")
        data = encoded(noise, "HEIF")
        assert decode(data, 3, "a.heic").shape == (3, 30, 40)
        monkeypatch.setattr("vitrail.data.formats.has_heif", lambda: False)
        monkeypatch.setattr("vitrail.data.image_file.available_formats", lambda: ["JPEG", "PNG"])
        with pytest.raises(DataError, match=r"a\.heic: HEIC needs .* pip install pillow-heif"):
            decode(data, 3, "a.heic")
        assert not is_image_name("a.heic")

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"%PDF-1.7 rest", "PDF is not read: convert it"),
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript is not read"),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG is not read"),
            (b"GIF87a\x28\0", "damaged GIF"),
            (b"dear diary", "not an image"),
            (b"", "the file is empty"),
        ],
    )
    def test_what_is_not_read_says_why(self, data: bytes, reason: str) -> None:
        with pytest.raises(DataError, match=f"x.png: {reason}"):
            decode(data, 3, "x.png")

    def test_suffixes_are_those_of_readable_formats(self) -> None:
        Image.init()
        registered = {*Image.registered_extensions(), ".npy"}
        assert SUFFIXES - registered <= {".pfm"}  # Pillow reads it, and does not register its name
        assert is_image_name("A/B.JFIF") and not is_image_name("a.eps") and not is_image_name("jpg")

    def test_hidden_files_are_not_searched(self, tmp_path: Any) -> None:
        for name in ("a.avif", "._a.jpg", ".ipynb_checkpoints/b.jpg", "__MACOSX/c.jpg"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        assert [path.name for path in find_images([tmp_path])] == ["a.avif"]


class TestOrientation:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
    def test_pixels_and_sizes_are_upright(self, noise: Image.Image, kind: str) -> None:
        for orientation in range(1, 9):
            exif = Image.Exif()
            exif[0x0112] = orientation
            data = encoded(noise, kind, exif=exif)
            expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))))
            image = ImageFile(data, 3, "x")
            assert (image.height, image.width) == expected.shape[:2]
            assert np.array_equal(image.decode().permute(1, 2, 0), expected), orientation

    def test_of_tiffs_of_16_bits(self) -> None:
        pixels = np.zeros((20, 30, 3), np.uint16)
        pixels[0, 0] = 65535
        turned = decode(tiff(pixels, photometric="rgb", extratags=[(274, 3, 1, 6)]), 3, "x")
        assert turned.shape == (3, 30, 20) and turned[0, 0, -1] == 255


class TestDepth:
    @pytest.mark.parametrize(("value", "byte"), [(300, 1), (1, 0), (32768, 128), (65535, 255)])
    def test_16_bits_of_gray_and_of_color_agree(self, value: int, byte: int) -> None:
        color = np.full((30, 40, 3), value, np.uint16)
        files = [
            gray16(value),
            cv2.imencode(".png", color)[1].tobytes(),
            tiff(color, photometric="rgb"),
            tiff(color[..., 0]),
            npy(color),
        ]
        for data in files:
            assert (decode(data, 3, "x") == byte).all()

    def test_exposure_is_information(self) -> None:
        ramp = np.linspace(0, 65535, 1200).reshape(30, 40).astype(np.uint16)
        means = [
            decode(encoded(Image.fromarray(r), "PNG"), 3, "x").float().mean()
            for r in (ramp, ramp // 2)
        ]
        assert means == pytest.approx([127.5, 63.75], abs=0.5)

    def test_white_may_be_that_of_12_bits(self, noise: Image.Image) -> None:
        assert (decode(gray16(4095), 3, "x", white=4095) == 255).all()
        assert (decode(gray16(5000), 3, "x", white=4095) == 255).all()
        plain = encoded(noise, "PNG")
        assert torch.equal(decode(plain, 3, "x", white=4095), decode(plain, 3, "x"))

    def test_floats_are_on_a_scale_or_refused(self) -> None:
        values = np.array([[-1.0, -0.5, 0.0, 1.0]], np.float32)
        assert decode(tiff(abs(values)), 1, "x").flatten().tolist() == [255, 128, 0, 255]
        for data in (tiff(values), npy(values)):
            with pytest.raises(DataError, match="from -1 to 1 are not on the scale of 0 to 1: set"):
                decode(data, 1, "x")
        assert decode(tiff(values), 1, "x", white=1.0).flatten().tolist() == [0, 0, 0, 255]
        with pytest.raises(DataError, match="no finite numbers"):
            decode(npy(np.array([[np.nan, 1.0]])), 1, "x")


class TestChannels:
    @pytest.mark.parametrize("count", [2, 4, 5])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_models_of_as_many_take_them(self, count: int, dtype: Any) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (8, 9, count)).astype(dtype)
        contiguous = {"photometric": "minisblack", "planarconfig": "contig"}
        planes = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
        expected = torch.from_numpy(planes.astype(np.float64) * 255 / np.iinfo(dtype).max)
        for data in (tiff(pixels, **contiguous), npy(pixels), npy(planes)):
            decoded = decode(data, count, "x")
            torch.testing.assert_close(decoded.double(), expected.round())

    def test_others_are_refused_with_their_number(self, noise: Image.Image) -> None:
        bands = tiff(np.zeros((8, 9, 5), np.uint8), photometric="minisblack", planarconfig="contig")
        for data, channels, count in ((bands, 3, 5), (encoded(noise, "JPEG"), 4, 3)):
            with pytest.raises(DataError, match=f"of {count} channels cannot .* {channels}"):
                decode(data, channels, "x")

    def test_transparency_becomes_white_or_a_channel(self) -> None:
        clear = Image.new("RGBA", (4, 5), (0, 0, 0, 0))
        assert (decode(encoded(clear, "PNG"), 3, "x") == 255).all()
        assert decode(encoded(clear, "PNG"), 4, "x").unique().tolist() == [0]
        deep = cv2.imencode(".png", np.full((4, 5, 4), 32768, np.uint16))[1].tobytes()
        assert decode(deep, 3, "x").unique().tolist() == [191]  # half gray on white
        assert from_pillow(clear.convert("LA"), 1).unique().tolist() == [255]


class TestDamage:
    def test_padding_in_a_jpeg_is_remarked_and_its_pixels_are_taken(
        self, noise: Image.Image
    ) -> None:
        data = encoded(noise, "JPEG")
        padded = ImageFile(data[:-2] + b"\0" * 50 + b"\xff\xd9", 3, "x")
        assert torch.equal(padded.decode(), decode(data, 3, "x"))
        assert "extraneous bytes" in padded.remark

    def test_no_decoder_writes_to_the_console(self, capfd: pytest.CaptureFixture[str]) -> None:
        """Those of odd files write several lines each; we say it in one."""
        deep = np.full((4, 5, 3), 300, np.uint16)
        png = cv2.imencode(".png", deep)[1].tobytes()
        chunk = b"iCCPnonsense\0\0" + zlib.compress(b"no profile")
        profile = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        tiff = io.BytesIO()
        tifffile.imwrite(tiff, np.zeros((4, 6, 5), "H"), planarconfig="contig")
        odd_tiff = bytearray(tiff.getvalue())
        odd_tiff[odd_tiff.index(struct.pack("<HHI", 258, 3, 5)) + 2] = 99  # no type of a tag
        palette = io.BytesIO()
        colors = Image.new("P", (5, 4))
        colors.putpalette([0, 0, 0, 9, 9, 9])
        colors.save(palette, "PNG", transparency=b"\0\xff")
        exif = io.BytesIO()
        Image.new("RGB", (5, 4)).save(exif, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\1")
        files = [
            png[:33] + profile + png[33:],
            bytes(odd_tiff),
            palette.getvalue(),
            exif.getvalue(),
        ]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            pillow.cache_clear()
            pillow()
            for data in files:
                with contextlib.suppress(DataError):
                    decode(data, 3, "odd")
                tifffile.logger().warning("of another program")
        assert [str(warning.message) for warning in caught] == []
        assert capfd.readouterr().err == "of another program\n" * len(files)

    def test_a_cut_jpeg_is_refused(self, noise: Image.Image) -> None:
        data = encoded(noise, "JPEG")
        with pytest.raises(DataError, match=r"x: damaged JPEG \(Premature end"):
            decode(data[: len(data) // 2], 3, "x")

    def test_limits_are_read_from_the_header(self) -> None:
        data = encoded(Image.new("1", (14000, 14000)), "PNG")
        with pytest.raises(DataError, match="x: 196 megapixels are more than the limit of 178: "):
            ImageFile(data, 3, "x")
        header = npy(np.zeros((4, 4), np.uint8)).replace(b"(4, 4)", b"(9, 9)")
        with pytest.raises(DataError, match="damaged NPY"):
            decode(header, 1, "x")
        objects = io.BytesIO()
        np.save(objects, np.array([{}, {}], object), allow_pickle=True)
        with pytest.raises(DataError, match="an array of object"):
            decode(objects.getvalue(), 1, "x")


class TestScaledDecoding:
    def test_a_camera_s_jpeg_comes_out_smaller_but_large_enough(self) -> None:
        y, x = np.mgrid[:600, :800]
        smooth = np.stack([x / 4, y / 4, (x + y) / 8], -1).astype(np.uint8)
        data = encoded(Image.fromarray(smooth), "JPEG", quality=95)
        shapes = {
            least: ImageFile(data, 3, "x").decode(at_least=(least, least)).shape[1:]
            for least in (75, 76, 150, 300, 301)
        }
        assert shapes == {
            75: (75, 100), 76: (150, 200), 150: (150, 200), 300: (300, 400), 301: (600, 800)
        }  # fmt: skip
        small = ImageFile(data, 3, "x").decode(at_least=(75, 75)).float()
        whole = torch.from_numpy(smooth).permute(2, 0, 1).float()
        means = torch.nn.functional.avg_pool2d(whole, 8)
        assert (small - means).abs().mean() < 1

    def test_turned_images_too(self, noise: Image.Image) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        image = ImageFile(encoded(noise.resize((160, 80)), "JPEG", exif=exif), 3, "x")
        assert (image.height, image.width) == (160, 80)
        assert image.decode(at_least=(30, 20)).shape == (3, 40, 20)
