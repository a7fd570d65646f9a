"""Videos, volumes and signals: readers, sampling of parts, what a model gets."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from vitrail.data.recording_dataset import RecordingDataset, measure, open_recordings
from vitrail.data.recording_inputs import KINDS, find_inputs, fit_recording
from vitrail.data.recordings import ArrayRecording, resample, sample
from vitrail.data.signals import open_signal
from vitrail.data.videos import VideoFile, is_image_folder, open_video
from vitrail.data.volumes import open_volume
from vitrail.errors import ConfigError, DataError
from vitrail.preprocess import Preprocess, Sampling

av = pytest.importorskip("av")
nibabel = pytest.importorskip("nibabel")


def write_video(
    path: Path, frames: int = 60, size: tuple[int, int] = (64, 48), codec: str = "mpeg4"
) -> Path:
    """A video whose frame number i is gray of value 4 · i, with key frames 12 apart."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"g": "12", "qmin": "1", "qmax": "1"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(frames):
            pixels = np.full((size[1], size[0], 3), 4 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "ramp.mp4")


def numbers(frames: Tensor) -> list[int]:
    """uint8 (3, T, H, W) → the numbers of the frames."""
    return (frames.float().mean((0, 2, 3)) / 4).round().int().tolist()


class TestVideos:
    def test_a_frame_is_the_frame_of_its_number(self, video: Path) -> None:
        recording = open_video(video)
        assert recording.shape == (3, 60, 48, 64)
        for indices in ([0, 1, 2], [0, 29, 59], [58, 59], [7, 7, 8]):
            assert numbers(recording.read([torch.tensor(indices)])) == indices

    def test_far_frames_are_sought_and_not_decoded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import vitrail.data.videos as module

        path = write_video(tmp_path / "long.avi")
        decoded = []
        number_of = module._Decoder._number
        monkeypatch.setattr(
            module._Decoder,
            "_number",
            lambda self, frame: decoded.append(0) or number_of(self, frame),
        )
        monkeypatch.setattr(module, "FARTHEST", 20)
        assert numbers(open_video(path).read([torch.tensor([1, 50])])) == [1, 50]
        assert len(decoded) < 20

    def test_large_frames_are_reduced_while_they_are_decoded(self, video: Path) -> None:
        assert open_video(video, short_side=12).read([torch.tensor([3])]).shape == (3, 1, 12, 16)
        assert open_video(video, short_side=99).read([torch.tensor([3])]).shape == (3, 1, 48, 64)

    def test_frames_in_a_folder_come_in_the_order_of_their_numbers(self, tmp_path: Path) -> None:
        for number in range(12):
            Image.new("RGB", (6, 4), (4 * number,) * 3).save(tmp_path / f"f{number}.png")
        recording = open_video(tmp_path)
        assert numbers(recording.read([torch.arange(12)])) == list(range(12))
        Image.new("RGB", (5, 4)).save(tmp_path / "f3.png")
        with pytest.raises(DataError, match=r"f3.png: is 5 x 4, and the first frame 6 x 4"):
            recording.read([torch.arange(12)])

    def test_damaged_videos_say_so_in_one_line(self, video: Path, tmp_path: Path) -> None:
        whole = video.read_bytes()
        for name, data in {
            "empty": b"",
            "text": b"no video at all",
            "cut": whole[: len(whole) // 2],
        }.items():
            path = tmp_path / f"{name}.mp4"
            path.write_bytes(data)
            with pytest.raises(DataError, match=rf"{name}.mp4: damaged") as problem:
                open_video(path).read([torch.tensor([0, 59])])
            assert "\n" not in str(problem.value)
        avi = write_video(tmp_path / "whole.avi").read_bytes()
        (tmp_path / "short.avi").write_bytes(avi[: len(avi) // 3])
        with pytest.raises(DataError, match=r"short.avi: damaged"):
            open_video(tmp_path / "short.avi").read([torch.tensor([0, 59])])

    def test_a_file_without_pictures_is_no_video(self, tmp_path: Path) -> None:
        from scipy.io import wavfile

        wavfile.write(tmp_path / "sound.wav", 8000, np.zeros(100, np.int16))
        with pytest.raises(DataError, match="holds no video"):
            VideoFile(tmp_path / "sound.wav")


class TestVolumes:
    values = np.arange(2 * 3 * 4).reshape(2, 3, 4)

    def test_types_keep_their_values(self, tmp_path: Path) -> None:
        for dtype in (np.uint8, np.int16, np.uint16, np.float64, np.bool_):
            path = tmp_path / f"{np.dtype(dtype).name}.npy"
            np.save(path, self.values.astype(dtype) * (1 if dtype == np.bool_ else 10))
            part = open_volume(path).read([torch.arange(n) for n in (2, 3, 4)])
            assert part.dtype == (torch.uint8 if dtype == np.uint8 else torch.float32)
            assert part.shape == (1, 2, 3, 4)
            expected = self.values.astype(bool) if dtype == np.bool_ else self.values * 10
            assert part[0].numpy().tolist() == expected.tolist()

    def test_nifti_is_turned_to_the_anatomy_whatever_its_storage(self, tmp_path: Path) -> None:
        # Anatomical axes: to the right, to the front, up.
        values = np.random.default_rng(0).integers(-900, 900, (5, 6, 7)).astype(np.int16)
        image = nibabel.Nifti1Image(values, np.diag([2.0, 2.0, 3.0, 1.0]))
        expected = values.transpose(2, 1, 0)[:, ::-1]  # depth up, height to the back
        for codes in ("RAS", "LPS", "PIR", "ASL"):
            goal = nibabel.orientations.axcodes2ornt(codes)
            start = nibabel.orientations.axcodes2ornt("RAS")
            transform = nibabel.orientations.ornt_transform(start, goal)
            path = tmp_path / f"{codes}.nii.gz"
            nibabel.save(image.as_reoriented(transform), path)
            recording = open_volume(path)
            assert recording.shape == (1, 7, 6, 5)
            box = [torch.arange(1, 6), torch.tensor([0, 2, 2]), torch.arange(2, 5)]
            part = recording.read(box)
            np.testing.assert_array_equal(part[0], expected[1:6][:, [0, 2, 2]][:, :, 2:5])

    def test_the_fourth_axis_of_nifti_is_channels(self, tmp_path: Path) -> None:
        values = np.random.default_rng(0).random((5, 6, 7, 2)).astype(np.float32)
        path = tmp_path / "two.nii"
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
        part = open_volume(path).read([torch.arange(n) for n in (7, 6, 5)])
        np.testing.assert_array_equal(part, values.transpose(3, 2, 1, 0)[:, :, ::-1])

    def test_stacks_of_pages_and_folders_of_slices(self, tmp_path: Path) -> None:
        slices = np.random.default_rng(0).integers(0, 60_000, (3, 4, 5)).astype(np.uint16)
        pages = [Image.fromarray(page) for page in slices]
        pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
        (tmp_path / "folder").mkdir()
        for number, page in enumerate(pages):
            page.save(tmp_path / "folder" / f"{number}.png")
        for name in ("stack.tif", "folder"):
            box = [torch.arange(1, 3), torch.arange(4), torch.arange(5)]
            part = open_volume(tmp_path / name).read(box)
            np.testing.assert_array_equal(part[0], slices[1:])
        assert is_image_folder(tmp_path / "folder") and not is_image_folder(tmp_path)

    def test_a_class_of_stacks_is_no_folder_of_slices(self, tmp_path: Path) -> None:
        pages = [Image.new("L", (5, 4))] * 3
        for name in ("a.tif", "b.tif"):
            pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        assert not is_image_folder(tmp_path)

    @pytest.mark.parametrize(
        ("name", "write", "message"),
        [
            ("pickle.npy", lambda p: np.save(p, np.array([{}], object)), "damaged"),
            ("flat.npy", lambda p: np.save(p, np.zeros((3, 4))), r"has shape \(3, 4\)"),
            ("nan.npy", lambda p: np.save(p, np.full((2, 2, 2), np.nan)), "NaN or infinite"),
            ("complex.npy", lambda p: np.save(p, np.zeros((2, 2, 2), complex)), "real numbers"),
            ("empty.npy", lambda p: p.write_bytes(b""), "damaged"),
            ("text.nii.gz", lambda p: p.write_bytes(b"hello"), "damaged"),
            ("one.tif", lambda p: Image.new("L", (3, 3)).save(p), "has 1 slices"),
            ("bad.tif", lambda p: p.write_bytes(b"II*\0"), "has 0 slices"),
        ],
    )
    def test_bad_volumes(
        self, tmp_path: Path, name: str, write: Callable[[Path], None], message: str
    ) -> None:
        write(tmp_path / name)
        with pytest.raises(DataError, match=rf"{name}: .*{message}") as problem:
            open_volume(tmp_path / name).read([torch.arange(2)] * 3)
        assert "\n" not in str(problem.value)

    def test_a_file_that_was_cut_short(self, tmp_path: Path) -> None:
        path = tmp_path / "cut.nii.gz"
        noise = np.random.default_rng(0).random((20, 20, 20))
        nibabel.save(nibabel.Nifti1Image(noise, np.eye(4)), path)
        path.write_bytes(path.read_bytes()[:9000])
        with pytest.raises(DataError, match=r"cut.nii.gz: damaged"):
            open_volume(path).read([torch.arange(20)] * 3)


class TestSignals:
    @pytest.mark.parametrize(
        "text",
        [
            "0.5,1\n2,-3\n1e2,4\n",
            "a,b\n0.5,1\n2,-3\n1e2,4\n",
            "\ufeffa;b\n0.5;1\n2;-3\n1e2;4",
            "0.5\t1\n2\t-3\n1e2\t4\n",
            "0.5 1\n2  -3\n1e2 4\n",
        ],
    )
    def test_tables(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "table.csv"
        path.write_text(text, encoding="utf-8")
        part = open_signal(path).read([torch.arange(3)])
        assert part.tolist() == [[0.5, 2, 100], [1, -3, 4]]

    def test_sound_is_on_its_full_scale(self, tmp_path: Path) -> None:
        from scipy.io import wavfile

        for dtype, values, expected in (
            (np.int16, [[0, -32768], [16384, 8192]], [[0, 0.5], [-1, 0.25]]),
            (np.uint8, [[128, 0], [192, 160]], [[0, 0.5], [-1, 0.25]]),
            (np.float32, [[0.0, -1.0], [0.5, 0.25]], [[0, 0.5], [-1, 0.25]]),
        ):
            path = tmp_path / f"{np.dtype(dtype).name}.wav"
            wavfile.write(path, 8000, np.array(values, dtype))
            assert open_signal(path).read([torch.arange(2)]).tolist() == expected

    @pytest.mark.parametrize("text", ["", "a,b\n1,2\n3\n", "a,b\n", "1,2\n3,x\n", "1\nnan\n"])
    def test_bad_tables(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "bad.csv"
        path.write_text(text)
        with pytest.raises(DataError, match=r"bad.csv: ") as problem:
            open_signal(path).read([torch.arange(2)])
        assert "\n" not in str(problem.value)


def ramp(length: int) -> ArrayRecording:
    return ArrayRecording("ramp", np.arange(float(length))[None], sampled_axes=1)


class TestSampling:
    def test_evaluation_takes_the_middle_or_even_parts(self) -> None:
        assert sample(ramp(9), (3,), Sampling(stride=1)).tolist() == [[3, 4, 5]]
        parts = sample(ramp(9), (3,), Sampling(stride=1, parts=3))
        assert parts.tolist() == [[1, 2, 3, 3, 4, 5, 5, 6, 7]]
        assert sample(ramp(9), (3,), Sampling(stride=4)).tolist() == [[0, 4, 8]]

    def test_the_border_is_repeated_where_a_recording_is_short(self) -> None:
        assert sample(ramp(2), (4,), Sampling(stride=1)).tolist() == [[0, 0, 1, 1]]
        assert sample(ramp(2), (6,), Sampling(stride=1)).tolist() == [[0, 0, 0, 1, 1, 1]]

    def test_training_starts_anywhere_as_the_seed_decides(self) -> None:
        def starts(seed: int) -> list[float]:
            generator = torch.Generator().manual_seed(seed)
            parts = [sample(ramp(9), (3,), Sampling(stride=2), generator) for _ in range(60)]
            assert all((part.diff() == 2).all() for part in parts)
            return [part[0, 0].item() for part in parts]

        assert set(starts(0)) == {0, 1, 2, 3, 4}
        assert starts(0) == starts(0) != starts(1)

    def test_a_video_is_spread_over_its_length(self) -> None:
        frames = np.arange(100, dtype=np.uint8).reshape(1, 100, 1, 1)
        recording = ArrayRecording("video", frames, sampled_axes=1)
        even = sample(recording, (4, 9, 9), Sampling())[0, :, 0, 0]
        assert even.tolist() == [12, 37, 62, 87]
        two = sample(recording, (4, 9, 9), Sampling(parts=2))[0, :, 0, 0]
        assert two.tolist() == [6, 31, 56, 81, 18, 43, 68, 93]
        generator = torch.Generator().manual_seed(0)
        for _ in range(20):  # one random frame of each quarter
            indices = sample(recording, (4, 9, 9), Sampling(), generator)[0, :, 0, 0]
            assert (indices // 25).tolist() == [0, 1, 2, 3]

    def test_parts_of_volumes_lie_along_every_axis(self) -> None:
        cube = ArrayRecording("cube", np.arange(64.0).reshape(1, 4, 4, 4), sampled_axes=3)
        parts = sample(cube, (2, 2, 2), Sampling(stride=1, parts=2)).unflatten(1, (8, 2))
        corners = parts[0, :, 0, 0, 0].tolist()
        assert corners == [16 * z + 4 * y + x for z in (0, 2) for y in (0, 2) for x in (0, 2)]

    def test_resampling_keeps_the_mean_and_the_type(self) -> None:
        values = torch.randint(0, 255, (1, 8, 8, 8), dtype=torch.uint8)
        smaller = resample(values, (4, 2, 8))
        assert smaller.dtype == torch.uint8 and smaller.shape == (1, 4, 2, 8)
        assert (smaller.float().mean() - values.float().mean()).abs() < 1
        assert resample(torch.tensor([[0.0, 4.0]]), (4,)).tolist() == [[0, 1, 3, 4]]

    def test_settings_are_checked(self) -> None:
        with pytest.raises(ConfigError, match="window"):
            Sampling(window=(3, 3))
        with pytest.raises(ConfigError, match="stride"):
            Sampling(stride=0)
        with pytest.raises(ConfigError, match="parts"):
            Sampling(parts=0)


class TestFit:
    def test_frames_are_resized_and_cropped_like_images(self, video: Path) -> None:
        preprocess = Preprocess((4, 16, 16), 18)
        clip = fit_recording(video, preprocess)
        assert clip.dtype == torch.uint8 and clip.shape == (3, 4, 16, 16)
        assert numbers(clip) == [7, 22, 37, 52]
        picture = torch.randint(0, 255, (3, 30, 40), dtype=torch.uint8)
        still = picture[:, None].expand(-1, 4, -1, -1)
        alone = Preprocess((16, 16), 18).crop(picture)
        for frame in fit_recording(still, preprocess).unbind(1):
            assert torch.equal(frame, alone)

    def test_gray_and_color(self) -> None:
        gray = torch.randint(0, 255, (1, 4, 8, 8), dtype=torch.uint8)
        colors = fit_recording(gray, Preprocess((4, 8, 8), None))
        assert torch.equal(colors, gray.expand(3, -1, -1, -1))
        one = Preprocess((4, 8, 8), None, mean=(0.5,), std=(0.5,))
        assert torch.equal(fit_recording(colors, one), gray)
        with pytest.raises(DataError, match="2 channels cannot become one of 3"):
            fit_recording(torch.zeros(2, 4, 8, 8), Preprocess((4, 8, 8), None))

    def test_the_window_clips(self, tmp_path: Path) -> None:
        np.save(tmp_path / "a.npy", np.array([-50.0, 3, 99]))
        sampling = Sampling(stride=1, window=(0.0, 10.0))
        preprocess = Preprocess((3,), None, mean=(0.0,), std=(1.0,), sampling=sampling)
        assert fit_recording(tmp_path / "a.npy", preprocess).tolist() == [[0, 3, 10]]
        assert preprocess(tmp_path / "a.npy").tolist() == [[[0, 3, 10]]]
        assert Preprocess.from_dict(preprocess.to_dict()) == preprocess

    def test_other_kinds_are_refused(self, video: Path) -> None:
        with pytest.raises(DataError, match="is no signal"):
            fit_recording(video, Preprocess((8,), None))
        with pytest.raises(DataError, match="neither a video nor a volume"):
            fit_recording("table.csv", Preprocess((4, 8, 8), None))
        with pytest.raises(DataError, match="is no sample for inputs of 4 x 8 x 8"):
            fit_recording(torch.zeros(3, 8, 8), Preprocess((4, 8, 8), None))


class TestPaths:
    def test_files_folders_and_patterns(self, tmp_path: Path) -> None:
        for name in ("a/2.npy", "a/10.csv", "a/notes.md", "b/x.mp4"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        for number in range(2):
            (tmp_path / "b" / "frames").mkdir(exist_ok=True)
            Image.new("L", (2, 2)).save(tmp_path / "b" / "frames" / f"{number}.png")
        signals, clips = Preprocess((8,), None), Preprocess((4, 8, 8), None)

        def names(paths: list[str], preprocess: Preprocess) -> list[str]:
            return sorted(path.name for path in find_inputs(paths, preprocess))

        assert names([str(tmp_path)], signals) == ["10.csv", "2.npy"]
        assert names([str(tmp_path / "b")], clips) == ["frames", "x.mp4"]
        assert names([str(tmp_path / "b" / "frames")], clips) == ["frames"]
        assert names([str(tmp_path / "*" / "*.csv")], signals) == ["10.csv"]
        with pytest.raises(DataError, match="no videos or volumes at"):
            find_inputs([str(tmp_path / "b" / "*.avi")], clips)

    def test_folders_become_classes_and_splits(self, tmp_path: Path) -> None:
        for name in ("train/a/1.npy", "train/b/1.npy", "Valid/a/2.npy", "Valid/b/2.npy"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / name, np.zeros((4, 4, 4)))
        parts = open_recordings("volumes", str(tmp_path))
        assert list(parts) == ["train", "val"]
        assert parts["val"]().labels == ["a", "b"] and parts["train"]().channels == 1
        assert parts["val"]().key(0) == "a/2.npy"
        alone = open_recordings("volumes", str(tmp_path / "train" / "a"))["train"]()
        assert alone.labels == [] and len(alone) == 1
        with pytest.raises(DataError, match="no folder"):
            open_recordings("videos", str(tmp_path / "nothing"))


class TestDataset:
    def folder(self, root: Path) -> RecordingDataset:
        generator = np.random.default_rng(0)
        files = [root / f"{n}.npy" for n in range(6)]
        for file in files:
            np.save(file, generator.normal(5, 2, (2, 50)))
        return RecordingDataset(root, files, [0, 1] * 3, ["a", "b"], KINDS["signals"])

    def test_training_samples_follow_from_seed_and_index(self, tmp_path: Path) -> None:
        preprocess = Preprocess((8,), None, sampling=Sampling(stride=1))
        dataset = self.folder(tmp_path).for_input(preprocess)
        first, again, other = (dataset.with_seed(seed) for seed in (1, 1, 2))
        same = [torch.equal(first.read(i), again.read(i)) for i in range(6)]
        differs = [not torch.equal(first.read(i), other.read(i)) for i in range(6)]
        assert all(same) and sum(differs) > 3
        assert torch.equal(dataset.read(0), dataset.read(0))
        part = first.subset([3, 1])
        assert part.targets() == [1, 1] and part.read(0).shape == (2, 8)

    def test_statistics_are_those_of_all(self, tmp_path: Path) -> None:
        mean, std = measure(self.folder(tmp_path))
        assert mean == pytest.approx((5, 5), abs=0.3) and std == pytest.approx((2, 2), abs=0.3)

    def test_bad_recordings_are_named(self, tmp_path: Path) -> None:
        dataset = self.folder(tmp_path)
        dataset.files[2].write_bytes(b"nothing")
        assert dataset.why_unreadable(1) == ""
        assert dataset.why_unreadable(2).startswith("damaged (")

    def test_means_of_parts(self) -> None:
        sampling = Sampling(stride=1, parts=3)
        preprocess = Preprocess((2,), None, mean=(1.0,), std=(2.0,), sampling=sampling)
        images = torch.randn(4, 1, 6)
        outputs = preprocess.apply(lambda x: x.square().sum(2), images)
        parts = [preprocess.normalise(p).square().sum(2) for p in images.split(2, dim=2)]
        torch.testing.assert_close(outputs, torch.stack(parts).mean(0))
