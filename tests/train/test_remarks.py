"""What a run says before it begins."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.small import small
from tests.train.tiny import tiny
from vitrail.data.in_memory import InMemoryDataset
from vitrail.data.registry import open_dataset, open_parts
from vitrail.data.text import Tokenizer
from vitrail.methods.clip import CLIP
from vitrail.methods.dino import DINO
from vitrail.methods.linear_probe import LinearProbe
from vitrail.methods.mae import MAE
from vitrail.methods.supervised import Supervised
from vitrail.train.remarks import (
    caption_remarks,
    data_remarks,
    odd_remarks,
    twin_remarks,
    warmup_remarks,
)

DIGITS = open_dataset("digits", limit=20)


def clip(captions: list[str], context: int | None = None) -> tuple[CLIP, InMemoryDataset]:
    """A method and a dataset with these captions."""
    dataset = InMemoryDataset(
        DIGITS.images[: len(captions)], torch.zeros(len(captions)), [], ((0.3,), (0.4,)), ""
    )
    dataset.captions = captions
    tokenizer = Tokenizer.train(captions, 300, context)
    tower: dict[str, Any] = {"text_dim": 16, "text_depth": 1, "text_heads": 2}
    return CLIP(small("ViT", num_classes=0), tokenizer, **tower), dataset


def test_captions_are_counted() -> None:
    text = "a photograph of a park with many tall trees, and on a bench there sits a"
    remarks = caption_remarks(*clip([f"{text} cat", f"{text} dog", f"{text} dog", ""], 5))
    assert remarks[0].startswith("4 captions, 3 of them different, of up to ")
    assert remarks[1].startswith("3 captions are cut after 5 tokens: method.tokenizer=train:SIZE")
    assert remarks[2].startswith("1 caption became equal to another one, and counts as the right")
    assert remarks[3] == "1 caption is empty."
    assert len(caption_remarks(*clip([f"{text} cat", f"{text} dog"]))) == 1


@pytest.mark.parametrize("caption", ["a photo", "", "   "])
def test_captions_that_are_all_equal(caption: str) -> None:
    assert caption_remarks(*clip([caption] * 4))[-1].startswith("all captions are equal")


def test_settings_that_features_do_not_read() -> None:
    probe = LinearProbe(small("ViT"))
    remarks = data_remarks(tiny("data.repeats=2"), probe, DIGITS)
    assert remarks[0].startswith("data.augment, data.repeats: without effect")
    assert data_remarks(tiny(), Supervised(small("ViT")), DIGITS) == []


def test_crops_that_no_method_reads() -> None:
    crops = tiny("data.crops.local=2", "data.augment.crop=resized")
    text = "data.crops: without effect, for supervised reads whole images."
    assert data_remarks(crops, Supervised(small("ViT")), DIGITS) == [text]
    dino = DINO(small("ViT", dim=64), 8, (8, 4))
    assert data_remarks(crops, dino, DIGITS) == []


@pytest.mark.parametrize(
    ("setting", "steps"), [("warmup_steps=41", 41), ("warmup_epochs=2.5", 50), ("warmup=0.9", 0)]
)
def test_a_warm_up_longer_than_training(setting: str, steps: int) -> None:
    remarks = warmup_remarks(tiny("schedule.epochs=2", f"schedule.{setting}").schedule, 20)
    start = f"the warm-up of {steps} steps is longer than the training of 40, and ends with it"
    assert [text.startswith(start) for text in remarks] == [True] * bool(steps)


def test_a_method_that_is_larger_than_the_model() -> None:
    method = MAE(small("ViT"), decoder_dim=64, decoder_depth=2, decoder_heads=2)
    text = data_remarks(tiny(), method, DIGITS)[0]
    assert text.startswith("the method adds ") and "of the model" in text


def test_classes_that_are_one_to_a_reader() -> None:
    names = ["Cat", "cat", "big dog", "big_dog", "fox", "\uff46ox"]
    remarks = twin_remarks(names)
    assert [remark.partition(" are told")[0] for remark in remarks] == [
        "the classes 'Cat', 'cat'", "the classes 'big dog', 'big_dog'",
        "the classes 'fox', '\uff46ox'",
    ]  # fmt: skip
    assert not twin_remarks(["1", "10", "a", "b", "a1"])


def test_files_that_a_table_lists_twice(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    rows = ["a,cat,train", "a,dog,train", "b,cat,train", "b,cat,test", "c,dog,train", "d,dog,test"]
    table.write_text("\n".join(["path,label,split", *rows]))
    for name in "abcd":
        (tmp_path / name).touch()
    remarks = odd_remarks(open_parts(f"csv:{table}?kind=images")["train"]())
    assert [remark.partition(":")[0] for remark in remarks] == [
        "1 file is listed with different labels, a",
        "1 file is listed in more than one split, b",
        "2 files are listed more than once, such as a, and count as often.",
    ]
    table.write_text("\n".join(["path,label,split", rows[0], rows[4]]))
    assert not odd_remarks(open_parts(f"csv:{table}?kind=images")["train"]())
