"""Volumes: NumPy arrays, NIfTI images, multi-page TIFFs and folders of slices."""

import gzip
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from vitrail.data.file_spans import FileSpan, Source, map_array, openable, size_of
from vitrail.data.formats import available_formats, check_shape, check_unfolding, pillow
from vitrail.data.recordings import ArrayRecording, Recording, damage, to_sample
from vitrail.data.videos import TIFF, count_pages, images_in
from vitrail.errors import DataError

NIFTI = (".nii", ".nii.gz", ".mgz", ".mgh")


def is_volume_file(path: Source) -> bool:
    """Whether a file is a volume, by its suffix.

    Args:
        path: a file.

    Returns:
        Whether `open_volume` reads it.

    Example:
        >>> is_volume_file(Path("brain.nii.gz")), is_volume_file(Path("photo.jpg"))
        (True, False)
    """
    return path.name.lower().endswith((*NIFTI, *TIFF, ".npy"))


def open_volume(path: Source) -> Recording:
    """Opens a volume. Its axes are depth, height and width.

    Args:
        path: a .npy file of (D, H, W) or (C, D, H, W), which is not unpickled; a NIfTI file, whose
            axial slices come first, from the feet up, each as seen from above with the front at
            the top, and whose fourth axis is channels; a multi-page TIFF; or a folder of slices.

    Returns:
        The volume; the voxels are read when they are needed.

    Raises:
        DataError: it cannot be read.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "cube.npy"
        >>> np.save(path, np.zeros((4, 5, 6), dtype=np.int16))
        >>> open_volume(path).shape
        (1, 4, 5, 6)
    """
    if not path.is_dir():
        size_of(path)
    name = path.name.lower()
    with damage(str(path)):
        if path.is_dir():
            return SliceStack(str(path), images_in(path))
        if name.endswith(".npy"):
            return ArrayRecording(str(path), _with_channels(map_array(path), path), sampled_axes=3)
        if name.endswith(TIFF):
            pages = [(path, page) for page in range(count_pages(path))]
            return SliceStack(str(path), pages)
        return ArrayRecording(str(path), _Nifti(path), sampled_axes=3)  # type: ignore[arg-type]


def _with_channels(array: np.ndarray, path: Source) -> np.ndarray:
    if array.ndim not in (3, 4):
        raise DataError(
            f"{path}: has shape {array.shape}: a volume is (depth, height, width), or (channels, "
            "depth, height, width)."
        )
    return array[None] if array.ndim == 3 else array


class _Nifti:
    """A NIfTI image as an array (C, D, H, W) that is read where it is indexed."""

    def __init__(self, path: Source) -> None:
        from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

        image = _load_nifti(path)
        self.data = image.dataobj
        if self.data.ndim not in (3, 4):
            raise DataError(f"{path}: has {self.data.ndim} axes: a volume has three.")
        count = math.prod(self.data.shape)
        if min(self.data.shape) < 1:
            raise DataError(f"{path}: is empty, of shape {self.data.shape}.")
        check_unfolding(str(path), count, size_of(path), "million voxels")
        # For each stored axis the anatomical one, and whether it runs against it. Width runs to
        # the right, height from the front to the back, depth up.
        goal = axcodes2ornt(("R", "P", "S"))
        transform = ornt_transform(io_orientation(image.affine), goal)
        self.axes, self.flips = transform[:, 0].astype(int), transform[:, 1]
        extent = [0, 0, 0]
        for stored, axis in enumerate(self.axes):
            extent[axis] = self.data.shape[stored]
        channels = self.data.shape[3] if self.data.ndim == 4 else 1
        self.shape = (channels, *reversed(extent))

    def __getitem__(self, box: tuple[slice, ...]) -> np.ndarray:
        channels, *sides = box
        anatomical = sides[::-1]
        stored_box = []
        for stored, axis in enumerate(self.axes):
            side, length = anatomical[axis], self.data.shape[stored]
            if self.flips[stored] < 0:
                side = slice(length - side.stop, length - side.start)
            stored_box.append(side)
        if self.data.ndim == 3:
            values = np.asarray(self.data[tuple(stored_box)])[..., None]
        else:
            values = np.asarray(self.data[(*stored_box, channels)])
        values = np.flip(values, tuple(np.flatnonzero(self.flips < 0)))
        order = [3, *(list(self.axes).index(axis) for axis in (2, 1, 0))]
        return values.transpose(order)


def _load_nifti(path: Source) -> Any:
    """The image of nibabel whose voxels are read when they are needed."""
    import nibabel

    if isinstance(path, Path):
        return nibabel.load(path)
    stream: Any = path.open()
    if path.name.lower().endswith(("gz", ".mgz")):
        stream = gzip.GzipFile(fileobj=stream)
    if ".mg" in path.name.lower():
        return nibabel.MGHImage.from_stream(stream)
    length = stream.read(4)  # of the header, by which its version is known
    stream.seek(0)
    is_second = 540 in (int.from_bytes(length, "little"), int.from_bytes(length, "big"))
    return (nibabel.Nifti2Image if is_second else nibabel.Nifti1Image).from_stream(stream)


class SliceStack(Recording):
    """A volume whose slices are image files, or the pages of one.

    Args:
        name: path of the folder or file.
        slices: files in their order, or (file, page).

    Raises:
        DataError: there are fewer than two slices.

    Example:
        >>> SliceStack("scan.tif", [])
        Traceback (most recent call last):
        vitrail.errors.DataError: scan.tif: has 0 slices: a volume has two or more.
    """

    sampled_axes = 3

    def __init__(self, name: str, slices: Sequence[Source | tuple[Source, int]]) -> None:
        self.name = name
        self.slices: list[tuple[Source, int]] = [
            (s, 0) if isinstance(s, Path | FileSpan) else s for s in slices
        ]
        if len(self.slices) < 2:
            raise DataError(f"{name}: has {len(self.slices)} slices: a volume has two or more.")
        first = _slice(*self.slices[0])
        self.shape = (first.shape[0], len(self.slices), *first.shape[1:])

    def read(self, indices: Sequence[Tensor]) -> Tensor:
        """indices of depth, height and width → (C, d, h, w)."""
        depth, rows, columns = indices
        slices: dict[int, np.ndarray] = {}
        for number in depth.unique().tolist():
            file, page = self.slices[number]
            with damage(str(file)):
                whole = _slice(file, page)
            if whole.shape != (self.shape[0], *self.shape[2:]):
                raise DataError(
                    f"{file}: slice {number} has shape {whole.shape}, and the first "
                    f"{(self.shape[0], *self.shape[2:])}: slices of a volume have one size."
                )
            slices[number] = whole[:, rows.numpy()][:, :, columns.numpy()]
        return to_sample(np.stack([slices[n] for n in depth.tolist()], axis=1), self.name)


def _slice(file: Source, page: int) -> np.ndarray:
    """A page of an image file as (C, H, W), with the values that it stores."""
    with pillow().open(openable(file), formats=available_formats()) as image:
        image.seek(page)
        check_shape(str(file), image.height, image.width, size_of(file))
        if image.mode in ("P", "CMYK", "1"):
            image = image.convert("L" if image.mode == "1" else "RGB")
        pixels = np.array(image)
    return pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, 2, 0)
