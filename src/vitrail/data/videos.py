"""Videos: files that PyAV decodes, and folders of frames."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vitrail.data.file_spans import Source, openable, size_of
from vitrail.data.formats import available_formats, check_shape, is_image_name, pillow
from vitrail.data.image_file import ImageFile
from vitrail.data.recordings import Recording, damage, in_natural_order
from vitrail.errors import DataError

if TYPE_CHECKING:
    import av
    import av.container
    from av.video.reformatter import VideoReformatter

SUFFIXES = {
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp",
    ".ogv", ".ts", ".mts",
}  # fmt: skip
# FFmpeg's names of what is read, whatever a file is called: playlists name other files.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,h264,hevc,asf,flv,ogg,mxf,gif,"
    "wav,mp3"
)
TIFF = (".tif", ".tiff")
FARTHEST = 64  # frames that are decoded and dropped, rather than sought over
MISSING = 0.1  # fraction of the frames that the header may promise in vain


def is_video_file(path: Source) -> bool:
    """Whether a file is a video, by its suffix.

    Args:
        path: a file.

    Returns:
        Whether `open_video` reads it.

    Example:
        >>> is_video_file(Path("walk.mp4")), is_video_file(Path("notes.txt"))
        (True, False)
    """
    return path.suffix.lower() in SUFFIXES


def is_image_folder(path: Path) -> bool:
    """Whether a folder holds two images at least and no folders. Stacks of pages are no images.

    Args:
        path: the folder.

    Returns:
        Whether its images may be the frames of a video, or the slices of a volume.

    Example:
        >>> is_image_folder(Path("nowhere"))
        False
    """
    if not path.is_dir():
        return False
    images = images_in(path)
    if len(images) < 2 or any(p.is_dir() and p.name[0] != "." for p in path.iterdir()):
        return False
    return images[0].suffix.lower() not in TIFF or count_pages(images[0]) < 2


def count_pages(path: Source) -> int:
    """The number of pages of an image file.

    Args:
        path: the file.

    Returns:
        1 for formats without pages; 0 for a file that cannot be read.

    Example:
        >>> count_pages(Path("nowhere.tif"))
        0
    """
    try:
        size_of(path)
        with pillow().open(openable(path), formats=available_formats()) as image:
            return getattr(image, "n_frames", 1)
    except Exception:  # Pillow's parsers raise many kinds; reading the file says which
        return 0


def images_in(folder: Source) -> list[Source]:
    """The images of a folder, without those of folders in it.

    Args:
        folder: the folder.

    Returns:
        Their paths, sorted by name, numbers by value.

    Example:
        >>> images_in(Path("."))
        []
    """
    names = (p for p in folder.iterdir() if p.suffix != ".npy" and not p.name.startswith("."))
    return in_natural_order([p for p in names if is_image_name(p.name)])


def open_video(path: Source, short_side: int | None = None) -> Recording:
    """Opens a video.

    Args:
        path: a file, or a folder of frames, which are taken in the order of their names.
        short_side: frames with a longer short side are reduced to it while they are decoded, so
            that large videos take little memory; None keeps them.

    Returns:
        The video, of which nothing but the header was read.

    Raises:
        DataError: it cannot be read.

    Example:
        >>> open_video(Path("nowhere.mp4"))
        Traceback (most recent call last):
        vitrail.errors.DataError: nowhere.mp4: cannot be read (No such file or directory).
    """
    return FrameFolder(path) if path.is_dir() else VideoFile(path, short_side)


class FrameFolder(Recording):
    """A video whose frames are image files.

    Args:
        folder: folder of the frames.

    Raises:
        DataError: the folder holds no images.

    Example:
        >>> import tempfile, PIL.Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for number in range(3):
        ...     PIL.Image.new("RGB", (6, 4)).save(folder / f"{number}.png")
        >>> FrameFolder(folder).shape
        (3, 3, 4, 6)
    """

    sampled_axes = 1

    def __init__(self, folder: Source) -> None:
        self.name = str(folder)
        self.files = images_in(folder)
        if not self.files:
            raise DataError(f"{folder}: holds no frames.")
        self.shape = (3, len(self.files), *_read_frame(self.files[0]).shape[1:])

    def read(self, indices: Sequence[Tensor]) -> Tensor:
        """[indices (n,)] → uint8 (3, n, H, W)."""
        frames = [_read_frame(self.files[index]) for index in indices[0].tolist()]
        for frame, index in zip(frames, indices[0].tolist(), strict=True):
            if frame.shape[1:] != self.shape[2:]:
                raise DataError(
                    f"{self.files[index]}: is {frame.shape[2]} x {frame.shape[1]}, and the first "
                    f"frame {self.shape[3]} x {self.shape[2]}: frames of a video have one size."
                )
        return torch.stack(frames, dim=1)


def _read_frame(file: Source) -> Tensor:
    """An image file → uint8 (3, H, W)."""
    try:
        data = file.read_bytes()
    except OSError as problem:
        raise DataError(f"{file}: cannot be read ({problem.strerror}).") from None
    return ImageFile(data, 3, str(file)).decode()


class VideoFile(Recording):
    """A video file. Frames before the part that is read are sought over, not decoded.

    Frames are numbered by time at the mean frame rate, so that those of a video with a variable
    rate are equally far apart in time.

    Args:
        path: the file.
        short_side: longer short sides are reduced to it while frames are decoded; None keeps them.

    Raises:
        DataError: it cannot be read.

    Example:
        >>> VideoFile(Path("nowhere.mp4"))
        Traceback (most recent call last):
        vitrail.errors.DataError: nowhere.mp4: cannot be read (No such file or directory).
    """

    sampled_axes = 1

    def __init__(self, path: Source, short_side: int | None = None) -> None:
        self.path, self.name, self.short_side = path, str(path), short_side
        size = size_of(path)
        frames, height, width = _header(path, path.stat().st_mtime_ns, size)
        check_shape(self.name, height, width, size)
        self.shape = (3, frames, height, width)

    def read(self, indices: Sequence[Tensor]) -> Tensor:
        """[indices (n,), ascending] → uint8 (3, n, H, W)."""
        from av.video.reformatter import VideoReformatter

        with damage(self.name), _open(self.path) as container:
            decoder, reformatter = _Decoder(container), VideoReformatter()
            frames = [
                self._pixels(decoder.frame(index, self.shape[1], self.name), reformatter)
                for index in indices[0].tolist()
            ]
        return torch.stack(frames, dim=1)

    def _pixels(self, frame: "av.VideoFrame", reformatter: "VideoReformatter") -> Tensor:
        """A frame as uint8 (3, H, W), upright and at most of the short side that is wanted."""
        scale = 1.0
        if self.short_side is not None:
            scale = min(1.0, self.short_side / min(frame.width, frame.height))
        width, height = max(round(frame.width * scale), 1), max(round(frame.height * scale), 1)
        reduced = reformatter.reformat(frame, width, height, "rgb24", interpolation="AREA")
        pixels = reduced.to_ndarray()
        quarters = round(getattr(frame, "rotation", 0) / 90)  # how a phone was held
        upright = np.ascontiguousarray(np.rot90(pixels, quarters))
        return torch.from_numpy(upright).permute(2, 0, 1)


class _Decoder:
    """Frames of an open video by their number, in ascending order."""

    def __init__(self, container: "av.container.InputContainer") -> None:
        self.container = container
        self.stream = container.streams.video[0]
        self.rate = float(self.stream.average_rate or self.stream.guessed_rate or 25)
        self.base = float(self.stream.time_base or 1 / self.rate)
        self.start = self.stream.start_time or 0
        self.number, self.newest = -1, None  # what was decoded last
        self.frames: Iterator[Any] = container.decode(self.stream)

    def frame(self, number: int, length: int, name: str) -> "av.VideoFrame":
        if number - self.number > FARTHEST:
            target = self.start + int(number / self.rate / self.base)
            self.container.seek(target, stream=self.stream)  # to the key frame before it
            self.frames, self.number = self.container.decode(self.stream), -1
        while self.number < number or self.newest is None:
            following = next(self.frames, None)
            if following is None:
                if self.newest is None or number - self.number > max(2, MISSING * length):
                    raise DataError(
                        f"{name}: damaged (ends after frame {max(self.number, 0)} of {length})."
                    )
                return self.newest  # headers count a few frames too many
            self.newest = following
            self.number = self._number(following)
        return self.newest

    def _number(self, frame: Any) -> int:
        if frame.pts is None:
            return self.number + 1
        return round((frame.pts - self.start) * self.base * self.rate)


def _open(path: Source) -> "av.container.InputContainer":
    """Opens a video file, whatever its name begins with, and nothing that it may name."""
    import av

    file = f"file:{path}" if isinstance(path, Path) else path.open()
    return av.open(
        file, "r", options={"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
    )


@functools.lru_cache(maxsize=4096)
def _header(path: Source, modified: int, size: int) -> tuple[int, int, int]:
    """Number of frames, height and width; packets are counted where the header does not say."""
    del modified, size  # they only distinguish one state of the file from another
    with damage(str(path)), _open(path) as container:
        if not container.streams.video:
            raise DataError(f"{path}: holds no video.")
        stream = container.streams.video[0]
        frames = stream.frames or sum(bool(packet.size) for packet in container.demux(stream))
        if not frames:
            raise DataError(f"{path}: holds no frames.")
        return frames, stream.height, stream.width
