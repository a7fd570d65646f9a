"""Decoding of images, datasets, the order of batches, preprocessing."""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vitrail.data.hub_datasets import HubDataset, StreamedDataset
from vitrail.data.images import find_images, read_image
from vitrail.data.in_memory import InMemoryDataset
from vitrail.data.loader import Loader, canvas
from vitrail.data.order import order
from vitrail.data.registry import open_dataset
from vitrail.data.splits import balanced, split_off
from vitrail.errors import ConfigError, DataError
from vitrail.preprocess import Preprocess
from vitrail.resizing import resize


def picture(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def photographs(root: Path, each: int = 6) -> Path:
    for number, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for i in range(each):
            size = (40 + 7 * i, 30 + 5 * number)
            picture(*size, seed=i).save(root / name / f"{i}.jpg", quality=95)
    return root


class TestDecoding:
    def test_formats_and_modes_come_out_as_rgb(self, tmp_path: Path) -> None:
        image = picture()
        for mode in ("RGB", "L", "P", "RGBA", "CMYK", "1", "I;16"):
            suffix = "tif" if mode == "CMYK" else "png"
            path = tmp_path / f"{mode.replace(';', '')}.{suffix}"
            if mode == "I;16":
                Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 256).save(path)
            else:
                image.convert(mode).save(path)
            pixels = read_image(path)
            assert (pixels.dtype, pixels.shape) == (torch.uint8, (3, 30, 40))
            assert pixels.float().std() > 10
        assert read_image(tmp_path / "RGB.png", channels=1).shape == (1, 30, 40)

    def test_transparency_becomes_white(self, tmp_path: Path) -> None:
        Image.new("RGBA", (4, 4), (200, 0, 0, 0)).save(tmp_path / "clear.png")
        assert (read_image(tmp_path / "clear.png") == 255).all()

    def test_jpegs_agree_with_pillow_and_stand_upright(self, tmp_path: Path) -> None:
        image = picture()
        image.save(tmp_path / "plain.jpg", quality=95)
        with Image.open(tmp_path / "plain.jpg") as reopened:
            theirs = torch.from_numpy(np.array(reopened)).permute(2, 0, 1)
        ours = read_image(tmp_path / "plain.jpg")
        assert (ours.int() - theirs.int()).abs().max() <= 2
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned a quarter
        image.save(tmp_path / "turned.jpg", quality=95, exif=exif)
        assert read_image(tmp_path / "turned.jpg").shape == (3, 40, 30)

    def test_what_is_no_image_is_named(self, tmp_path: Path) -> None:
        photographs(tmp_path / "p")
        whole = (tmp_path / "p" / "cat" / "0.jpg").read_bytes()
        for name, data, reason in (
            ("cut.jpg", whole[: len(whole) // 2], "damaged JPEG"),
            ("text.jpg", b"dear diary", "not an image"),
            ("empty.png", b"", "the file is empty"),
        ):
            (tmp_path / name).write_bytes(data)
            with pytest.raises(DataError, match=f"{name}: {reason}"):
                read_image(tmp_path / name)

    def test_images_are_found_in_folders_and_patterns(self, tmp_path: Path) -> None:
        photographs(tmp_path, each=2)
        assert len(find_images([tmp_path])) == 4
        assert len(find_images([str(tmp_path / "*" / "0.jpg"), tmp_path / "cat"])) == 3
        with pytest.raises(DataError, match="no images at"):
            find_images([tmp_path / "nothing"])
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "run.yaml").touch()
        with pytest.raises(DataError, match="is a model or a run: give it as the model, .*--model"):
            find_images([tmp_path / "run"])


class TestDatasets:
    def test_a_folder_splits_steadily(self, tmp_path: Path) -> None:
        photographs(tmp_path, each=10)
        train, part = split_off(open_dataset(f"folder:{tmp_path}"))
        assert (len(train), len(part), train.labels) == (16, 4, ["cat", "dog"])
        names = {train.name(i) for i in range(16)}, {part.name(i) for i in range(4)}
        assert not names[0] & names[1]
        picture().save(tmp_path / "cat" / "new.jpg")
        part = split_off(open_dataset(f"folder:{tmp_path}"))[1]
        again = {part.name(i) for i in range(len(part))}
        assert len(again - names[1]) <= 1  # at most the new one joined

    def test_a_split_does_not_follow_the_order_of_names(self, tmp_path: Path) -> None:
        """Names are often numbers in the order of recording: the first would be alike."""
        photographs(tmp_path, each=20)
        test = split_off(open_dataset(f"folder:{tmp_path}"))[1]
        by_name = sorted(tmp_path.glob("cat/*.jpg"))
        ranks = [by_name.index(tmp_path / test.name(i)) for i in range(4)]
        assert max(ranks) > 9 and min(ranks) < 10

    def test_named_splits_are_used(self, tmp_path: Path) -> None:
        photographs(tmp_path / "train", each=3)
        photographs(tmp_path / "val", each=2)
        assert len(open_dataset(f"folder:{tmp_path}", "train")) == 6
        assert len(open_dataset(f"folder:{tmp_path}", "val")) == 4
        assert len(open_dataset(f"folder:{tmp_path}", "all")) == 10
        with pytest.raises(DataError, match="has no split 'test': it has 'train', 'val'"):
            open_dataset(f"folder:{tmp_path}", "test")

    def test_bad_images_are_raised_or_skipped_and_listed(self, tmp_path: Path) -> None:
        photographs(tmp_path, each=8)
        bad = tmp_path / "dog" / "letter.jpg"
        bad.write_text("dear diary")
        train = f"folder:{tmp_path}"
        with pytest.raises(DataError, match="1 of 17 images cannot be read.*bad_images=skip") as e:
            open_dataset(train)
        assert str(bad) in str(e.value)
        source = open_dataset(train, bad_images="skip")
        assert [b.name for b in source.bad_images] == [str(bad)] and len(source) == 16
        picture().save(bad)  # mended, in the same process
        assert not open_dataset(train, "train").bad_images

    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("folder:{}/nowhere", "no folder"),
            ("folder:{}/empty", "no class folders with images"),
            ("fashionmnist", "Did you mean 'fashion-mnist'"),
            ("{}", "write folder:"),
        ],
    )
    def test_what_cannot_be_opened_says_why(self, spec: str, message: str, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(DataError, match=message):
            open_dataset(spec.format(tmp_path))

    def test_a_split_does_not_depend_on_how_the_folder_is_spelt(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        photographs(tmp_path / "photos", each=10)
        monkeypatch.chdir(tmp_path)
        spellings = (f"folder:{tmp_path / 'photos'}", "folder:photos", "folder:./photos/../photos")
        parts = []
        for spelling in spellings:
            source = split_off(open_dataset(spelling))[1]
            parts.append({Path(source.name(i)).resolve() for i in range(len(source))})
        assert parts[0] == parts[1] == parts[2]

    def test_a_class_called_train_and_a_link_to_nowhere(self, tmp_path: Path) -> None:
        photographs(tmp_path)
        (tmp_path / "dog").rename(tmp_path / "train")
        assert open_dataset(f"folder:{tmp_path}", "train").labels == ["cat", "train"]
        (tmp_path / "cat" / "link.jpg").symlink_to("nowhere.jpg")
        source = open_dataset(f"folder:{tmp_path}", "train", bad_images="skip")
        assert [(Path(b.name).name, b.reason) for b in source.bad_images] == [
            ("link.jpg", "cannot be read (No such file or directory)")
        ]

    def test_digits_and_limits_are_even(self) -> None:
        source = open_dataset("digits", limit=50)
        assert len(source) == 50
        assert np.bincount(source.targets()).tolist() == [5] * 10
        assert len(open_dataset("digits", "train")) + len(open_dataset("digits", "test")) == 1797
        rest, part = split_off(balanced(open_dataset("digits"), 100), 0.2)
        assert (len(rest), len(part)) == (80, 20)

    def test_a_data_set_of_the_datasets_library(self, tmp_path: Path) -> None:
        photographs(tmp_path / "set" / "train", each=5)
        spec = f"hub:{tmp_path / 'set'}"
        train = open_dataset(spec)
        assert (len(train), train.labels) == (10, ["cat", "dog"])
        assert train.read(0).dtype == torch.uint8
        (tmp_path / "set" / "train" / "cat" / "bad.jpg").write_text("dear diary")
        with pytest.raises(DataError, match=r"hub:.*: not an image"):
            broken = open_dataset(spec, "train")
            [broken.read(i) for i in range(len(broken))]
        assert len(open_dataset(spec, "train", bad_images="skip").bad_images) == 1
        (tmp_path / "set" / "train" / "cat" / "bad.jpg").unlink()
        stream = open_dataset(f"{spec}?streaming", "train", limit=7)
        loader = Loader(stream, 3, canvas(16), seed=0)
        batches = list(loader.epoch(1))
        assert [len(b.images) for b in batches] == [3, 3, 1]
        rest = list(loader.epoch(1, start=1))
        assert torch.equal(rest[0].images, batches[1].images)
        assert not torch.equal(next(loader.epoch(0)).images, batches[0].images)


class TestLoader:
    def test_order_depends_on_seed_and_epoch_alone(self) -> None:
        assert torch.equal(order(50, 1, 2), order(50, 1, 2))
        assert order(50, 1, 2).sort().values.tolist() == list(range(50))
        assert not torch.equal(order(50, 1, 2), order(50, 1, 3))
        assert not torch.equal(order(50, 1, 2), order(50, 2, 2))
        thrice = order(9, 0, 0, repeats=3)
        assert (len(thrice), len(thrice.unique())) == (9, 3)

    def test_workers_and_late_starts_change_nothing(self, tmp_path: Path) -> None:
        source = open_dataset(f"folder:{photographs(tmp_path)}", "train")
        batches = {
            workers: list(Loader(source, 3, canvas(16), seed=5, workers=workers).epoch(1))
            for workers in (0, 2)
        }
        for one, two in zip(batches[0], batches[2], strict=True):
            assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
        late = list(Loader(source, 3, canvas(16), seed=5).epoch(1, start=2))
        assert torch.equal(late[0].images, batches[0][2].images)
        state = torch.get_rng_state()
        list(Loader(source, 3, canvas(16), seed=5).epoch(0))
        assert torch.equal(state, torch.get_rng_state()), "loading drew from the model's generator"

    def test_shards_are_parts_of_the_same_batches(self) -> None:
        source = open_dataset("digits")
        whole = next(Loader(source, 8, lambda x: x, seed=0).epoch())
        parts = [next(Loader(source, 8, lambda x: x, seed=0, shard=(r, 2)).epoch()) for r in (0, 1)]
        assert sorted(torch.cat([p.indices for p in parts]).tolist()) == sorted(
            whole.indices.tolist()
        )

    def test_a_batch_has_a_sample_for_each_process_or_is_refused(self) -> None:
        source = open_dataset("digits", limit=20)
        for rank in range(4):  # the last batch has four samples
            batches = [*Loader(source, 8, lambda x: x, shard=(rank, 4)).epoch()]
            assert [len(batch.indices) for batch in batches] == [2, 2, 1]
        with pytest.raises(
            ConfigError, match=r"a batch of 4 leaves some of 5 .*set drop_last=True"
        ):
            Loader(source, 8, lambda x: x, shard=(0, 5))
        kept = Loader(source, 8, lambda x: x, shard=(4, 5), drop_last=True)
        assert [len(batch.indices) for batch in kept.epoch()] == [1, 1]
        assert len(Loader(source, 8, lambda x: x, shard=(4, 5), deals=True)) == 3
        with pytest.raises(ConfigError, match="of 9 processes without samples: take fewer"):
            Loader(source, 8, lambda x: x, shard=(0, 9), drop_last=True)


class TestPreprocess:
    @pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
    def test_resizing_is_pillows(self, interpolation: str) -> None:
        image = picture(97, 61)
        kind = getattr(Image.Resampling, interpolation.upper())
        theirs = torch.from_numpy(np.array(image.resize((40, 32), kind))).permute(2, 0, 1)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        difference = (resize(pixels, (32, 40), interpolation).int() - theirs.int()).abs()
        assert difference.max() <= 1

    def test_crop_is_central_and_undo_undoes(self) -> None:
        preprocess = Preprocess((16, 16), 20, "bilinear")
        image = torch.zeros(3, 40, 60, dtype=torch.uint8)
        image[:, 18:22, 28:32] = 255
        crop = preprocess.crop(image)
        assert crop.shape == (3, 16, 16)
        assert crop[0].float().argmax() in (7 * 16 + 7, 7 * 16 + 8, 8 * 16 + 7, 8 * 16 + 8)
        assert torch.equal(preprocess.undo(preprocess([image])), crop[None])
        assert Preprocess.from_dict(preprocess.to_dict()) == preprocess
        assert preprocess.at((32, 32)).resize == 40

    def test_impossible_settings_are_refused(self) -> None:
        with pytest.raises(ConfigError, match="resize=10 is less than the crop 16"):
            Preprocess((16, 16), 10)
        with pytest.raises(ConfigError, match="'cubic' is not one of"):
            Preprocess(interpolation="cubic")

    def test_evaluation_sees_what_predict_sees(self, tmp_path: Path) -> None:
        source = open_dataset(f"folder:{photographs(tmp_path)}")
        preprocess = Preprocess((16, 16), 18)
        batch = next(Loader(source, 2, preprocess.crop).epoch())
        paths = [source.name(int(i)) for i in batch.indices]
        assert torch.equal(preprocess.normalise(batch.images), preprocess(paths))


def test_samples_in_memory_have_names() -> None:
    source = InMemoryDataset(
        torch.zeros(2, 1, 4, 4, dtype=torch.uint8),
        torch.tensor([0, 1]),
        ["a", "b"],
        ((0.0,), (1.0,)),
        "x",
    )
    assert source.name(1) == "x[1]"


class TestWhatDatasetsSay:
    """Nobody asks for the class of a dataset, so each says what others need to know."""

    def test_in_memory(self) -> None:
        clips = torch.randint(0, 256, (6, 2, 3, 4, 5), dtype=torch.uint8)
        dataset = InMemoryDataset(clips, torch.arange(6) % 2, ["a", "b"])
        dataset.captions = [f"clip {i}" for i in range(6)]
        assert dataset.fixed_size and not dataset.streamed and dataset.channels == 2
        mean, std = dataset.statistics
        assert mean == pytest.approx((clips.double() / 255).mean((0, 2, 3, 4)).tolist())
        assert std == pytest.approx((clips.double() / 255).flatten(2).transpose(0, 1).flatten(1)
                                    .std(1, correction=0).tolist())  # fmt: skip
        part = dataset.subset([4, 1])
        assert part.targets() == [0, 1] and part.captions == ["clip 4", "clip 1"]
        assert torch.equal(part.read(0), clips[4]) and part.statistics == dataset.statistics
        assert torch.equal(dataset.read_batch(torch.tensor([5, 0])), clips[[5, 0]])
        with pytest.raises(DataError, match="is not streamed"):
            dataset.samples(0, 0, 0)

    def test_signals_and_volumes_are_loaded(self) -> None:
        signals = torch.randint(0, 256, (5, 1, 40), dtype=torch.uint8)
        dataset = InMemoryDataset(signals, torch.zeros(5), [])
        batch = next(Loader(dataset, 3, lambda sample: sample).epoch())
        assert torch.equal(batch.images, signals[:3]) and batch.sizes.tolist() == [[40]] * 3

    def test_folders_and_streams(self, tmp_path: Path) -> None:
        folder = open_dataset(f"folder:{photographs(tmp_path / 'photos')}")
        assert not folder.fixed_size and not folder.streamed
        photographs(tmp_path / "set" / "train", each=4)
        spec = f"hub:{tmp_path / 'set'}"
        rows, stream = open_dataset(spec), open_dataset(f"{spec}?streaming", stream_limit=5)
        assert type(rows) is HubDataset and not rows.streamed and not rows.fixed_size
        assert type(stream) is StreamedDataset and stream.streamed and len(stream) == 5
        assert not issubclass(StreamedDataset, HubDataset)
        for refused in (stream.targets, lambda: stream.read(0), lambda: stream.subset([0])):
            with pytest.raises(DataError, match="streamed: its samples can only be read in order"):
                refused()

    # The datasets library leaves the file open.
    @pytest.mark.filterwarnings("ignore::ResourceWarning")
    def test_hub_data_may_name_their_classes(self, tmp_path: Path) -> None:
        for split, labels in {"train": ["dog", "cat", "10", "9"], "validation": ["cat"]}.items():
            (tmp_path / split).mkdir()
            lines = ["file_name,label"]
            for number, label in enumerate(labels):
                picture().save(tmp_path / split / f"{number}.jpg")
                lines.append(f"{number}.jpg,{label}")
            (tmp_path / split / "metadata.csv").write_text("\n".join(lines))
        train = open_dataset(f"hub:{tmp_path}")
        assert train.labels == ["9", "10", "cat", "dog"] and train.targets() == [3, 2, 1, 0]
        part = train.subset([1])
        assert part.labels == train.labels and part.targets() == [2]
        assert open_dataset(f"hub:{tmp_path}", "val").labels == ["cat"]
        with pytest.raises(DataError, match="open it without streaming"):
            open_dataset(f"hub:{tmp_path}?streaming", stream_limit=2)
        gc.collect()

    def test_hub_data_may_have_several_labels_or_numbers(self) -> None:
        import datasets

        def split(feature: Any, cells: list[Any], key: str = "label") -> HubDataset:
            features = datasets.Features({"image": datasets.Image(), key: feature})
            rows = {"image": [picture()] * len(cells), key: cells}
            return HubDataset(datasets.Dataset.from_dict(rows, features), "hub:x/train")

        named = datasets.List(datasets.ClassLabel(names=["cat", "dog", "fox"]))
        several = split(named, [[0, 2], [], [1]])
        assert (several.target, several.labels) == ("labels", ["cat", "dog", "fox"])
        assert several.values is not None and several.targets() == [0, 0, 0]
        assert several.values.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
        part = several.subset([2])
        assert part.labels == several.labels and part.truth().tolist() == [[0, 1, 0]]
        tags = split(datasets.List(datasets.Value("string")), [["b", "a"], ["a"]], "tags")
        assert tags.labels == ["a", "b"] and tags.truth().tolist() == [[1, 1], [1, 0]]
        numbers = split(datasets.Value("float32"), [1.5, 2.0])
        assert (numbers.target, numbers.labels) == ("numbers", ["label"])
        assert numbers.truth().tolist() == [[1.5], [2.0]]
        with pytest.raises(DataError, match=r"hub:x/train\[1\] has no number in 'label'"):
            split(datasets.Value("float32"), [1.5, None])
        with pytest.raises(DataError, match="several labels or numbers in 'label', .* streaming"):
            StreamedDataset(several.rows.to_iterable_dataset(), "hub:x/train", 2)

    def test_what_is_left_out_stays_known_in_parts(self, tmp_path: Path) -> None:
        root = photographs(tmp_path / "photos", each=8)
        (root / "dog" / "letter.jpg").write_text("dear diary")
        dataset = open_dataset(f"folder:{root}", bad_images="skip")
        for part in (dataset, dataset.subset([0, 3]), *split_off(dataset, 0.5)):
            assert [Path(bad.name).name for bad in part.bad_images] == ["letter.jpg"]


@pytest.mark.parametrize("workers", [-1, 257, 10**12])
def test_more_workers_than_a_machine_holds_are_refused(workers: int) -> None:
    with pytest.raises(ConfigError, match=f"workers={workers} is not within 0 to 256"):
        Loader(open_dataset("digits", limit=20), 8, lambda image: image, workers=workers)
