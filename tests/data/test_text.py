"""Captions: tokenizers equal to the originals, and a caption for every image."""

import copy
import importlib.util
import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tests.data.test_data import picture
from vitrail.data import text
from vitrail.data.captions import Captions, all_captions
from vitrail.data.in_memory import InMemoryDataset
from vitrail.data.registry import open_dataset
from vitrail.data.splits import split_off
from vitrail.data.text import Tokenizer
from vitrail.errors import ConfigError, DataError

TEXTS = [
    "a photo of a cat.", "A Photo  of\ta DOG!!", "it's we're I'll you've I'm she'd can't 'S",
    "3.14159 2024-11-21 x86_64", "一张狗的照片。", "naïve café Ångström ÉCOLE", "e\u0301 combining",
    "emoji 😀👍🏽👨‍👩‍👧 🇨🇳", "", "   ", "#tag @user http://a.b/c?d=e&f=g",
    "日本語 한국어 العربية हिन्दी",
    "a" * 300, "word " * 100, "tab\nnewline\r\n", "-- … – — ½ ² ①", "\u200bzero\u200dwidth",
    "dogs' ''s",
]  # fmt: skip
# What transformers' tokenizer keeps as it is.
CLEANED = [
    "&lt;b&gt; &amp;quot;q&amp;quot; &amp;amp;",
    "“curly” it’s ‘so’",
    "很可爱！ ＦＵＬＬ，width",
]
# What OpenAI's also repairs: a capital Σ at the end of a word, ligatures, broken encodings.
REPAIRED = ["ΣΑΣ", "ﬁsh", "âœ” No problems"]
POOLS = [
    "abcdefghijklmnopqrstuvwxyz ABC ",
    "0123456789 .,;:!?'\"()-_/ ",
    "猫狗车房子的一，。！",
    "éèçñüå ",
    "😀🚀❤️👍🏽 ",
]


@pytest.fixture(scope="module")
def openai() -> Tokenizer:
    return Tokenizer.openai()


@pytest.fixture(scope="module")
def open_clip() -> Any:
    """Their tokenizer, without the rest of the package."""
    package = importlib.util.find_spec("open_clip")
    place = Path(package.submodule_search_locations[0]) / "tokenizer.py"
    spec = importlib.util.spec_from_file_location("open_clip_tokenizer", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer()


def test_ids_are_those_of_open_clip(openai: Tokenizer, open_clip: Any) -> None:
    draw = random.Random(0)
    drawn = [
        "".join(draw.choice(draw.choice(POOLS)) for _ in range(draw.randrange(60)))
        for _ in range(300)
    ]
    for caption in [*TEXTS, *CLEANED, *drawn]:
        assert torch.equal(openai([caption]), open_clip([caption])), caption
    for caption in REPAIRED:
        assert not torch.equal(openai([caption]), open_clip([caption])), caption
    assert (openai.vocabulary, openai.context, openai.end) == (49408, 77, open_clip.eot_token_id)


def test_ids_are_those_of_transformers(openai: Tokenizer) -> None:
    model = json.loads(openai._core.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    theirs = transformers.CLIPTokenizer(vocab=model["vocab"], merges=merges)
    for caption in [*TEXTS, *CLEANED]:
        wanted = theirs(caption, truncation=True, max_length=77)["input_ids"]
        given = openai([caption])[0]
        same = given[: len(wanted)].tolist() == wanted
        assert same != (caption in CLEANED), caption
        assert not given[len(wanted) :].any() or not same


def test_openais_vocabulary_may_come_from_the_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, openai: Tokenizer
) -> None:
    merges = text._openai_merges()
    monkeypatch.setattr(text, "PACKAGES", ("there_is_no_such_package",))
    with pytest.raises(ConfigError, match="pip install --no-deps open_clip_torch, or train one"):
        Tokenizer.openai()
    lines = ["#version: 0.2", *map(" ".join, merges)]
    (tmp_path / "merges.txt").write_text("\n".join(lines), "utf-8")
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda repository, name: tmp_path / name)
    assert torch.equal(Tokenizer.openai()(TEXTS), openai(TEXTS))


def test_a_trained_vocabulary_knows_every_text() -> None:
    captions = ["a photo of a cat", "a photo of a dog", "两只猫在沙发上"] * 3
    small, large = Tokenizer.train(captions, 10), Tokenizer.train(captions, 300, context=40)
    assert (small.vocabulary, small.context) == (259, 32)
    assert 259 < large.vocabulary <= 300
    ids = large(["a photo of a dog", "一张狗的照片 😀"])
    assert ids.dtype == torch.int64 and ids.shape == (2, 40)
    assert (ids[:, 0] == 1).all() and (ids == large.end).sum(1).tolist() == [1, 1]
    assert (ids[0] > 2).sum() < (small(["a photo of a dog"]) > 2).sum(), "nothing was merged"
    assert large._core.decode(ids[1].tolist()).strip() == "一张狗的照片 😀"
    assert torch.equal(
        ids, Tokenizer.train(captions, 300, context=40)(["A photo of a dog", "一张狗的照片 😀"])
    )
    cut = large(["word " * 100])
    assert cut[0, -1] == large.end
    assert large([]).shape == (0, 40)
    assert torch.equal(large("a dog"), large(["a dog"]))


def test_a_tokenizer_round_trips(tmp_path: Path, openai: Tokenizer) -> None:
    for made in (openai, Tokenizer.train(TEXTS, 400, context=12)):
        made.save(tmp_path / "tokenizer.json")
        again = Tokenizer.load(tmp_path / "tokenizer.json")
        plain = {k: v for k, v in vars(made).items() if k != "_core"}
        assert plain == {k: v for k, v in vars(again).items() if k != "_core"}
        assert torch.equal(again(TEXTS), made(TEXTS))
        assert torch.equal(copy.deepcopy(made)(TEXTS), made(TEXTS))
    with pytest.raises(DataError, match="no tokenizer"):
        Tokenizer.load(tmp_path / "none.json")
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(DataError, match=r"other\.json is no tokenizer\.json"):
        Tokenizer.load(tmp_path / "other.json")


def labelled(labels: list[str]) -> InMemoryDataset:
    images = torch.zeros(6, 1, 8, 8, dtype=torch.uint8)
    return InMemoryDataset(images, torch.arange(6) % 2, labels, ((0.5,), (0.5,)), "made")


def test_captions_of_labels_are_a_function_of_the_seed() -> None:
    source, templates = labelled(["t_shirt", "狗"]), ("a photo of a {}.", "one {}", "{} 的照片")
    texts = all_captions(source, templates)
    assert texts[:4] == [
        "a photo of a t shirt.",
        "one t shirt",
        "t shirt 的照片",
        "a photo of a 狗.",
    ]
    tokenizer = Tokenizer.train(texts, 300)
    captions = Captions(source, tokenizer, templates)
    labels, indices = torch.arange(200) % 2, torch.zeros(200).long()
    ids = captions(labels, indices, 7)
    assert torch.equal(ids, captions(labels, indices, 7))
    assert not torch.equal(ids, captions(labels, indices, 8))
    every = tokenizer(texts)
    which = (ids[:, None] == every).all(2).int().argmax(1)
    assert torch.equal(which // 3, labels)
    assert which.bincount().min() > 15, "a template is hardly ever drawn"
    with pytest.raises(ConfigError, match="template 'a cat' has no {} for the label"):
        Captions(source, tokenizer, ("a cat",))
    with pytest.raises(DataError, match="neither captions nor labels"):
        Captions(labelled([]), tokenizer)


def captioned(root: Path, suffix: str, count: int = 6) -> None:
    root.mkdir(parents=True)
    rows = [{"file_name": f"{i}.png", "text": f'a "{i}", 图'} for i in range(count)]
    for i, row in enumerate(rows):
        picture(seed=i).save(root / row["file_name"])
    if suffix == "jsonl":
        told = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        told = "file_name,text\n" + "".join(f'{i}.png,"a ""{i}"", 图"\n' for i in range(count))
    (root / f"metadata.{suffix}").write_text(told, "utf-8")


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_folder_of_captions(suffix: str, tmp_path: Path) -> None:
    captioned(tmp_path / "all", suffix)
    train, test = split_off(open_dataset(f"captions:{tmp_path / 'all'}"))
    assert (len(train), len(test), train.labels) == (5, 1, [])
    for source in (train, test, split_off(train, 0.5)[1]):
        for i in range(len(source)):
            assert source.captions[i] == f'a "{Path(source.name(i)).stem}", 图'
            assert source.read(i).shape == (3, 30, 40)
    tokenizer = Tokenizer.train(all_captions(train, ()), 300)
    ids = Captions(train, tokenizer)(torch.zeros(2).long(), torch.tensor([3, 1]), 0)
    assert torch.equal(ids, tokenizer([train.captions[3], train.captions[1]]))
    captioned(tmp_path / "parts" / "train", suffix)
    captioned(tmp_path / "parts" / "val", suffix, 3)
    sizes = [len(open_dataset(f"captions:{tmp_path / 'parts'}", s)) for s in ("train", "val")]
    assert sizes == [6, 3]


def test_captions_that_are_amiss_are_told(tmp_path: Path) -> None:
    root = tmp_path / "bad"
    root.mkdir()
    spec, file = f"captions:{root}", root / "metadata.jsonl"
    with pytest.raises(DataError, match=r"has no metadata\.jsonl or metadata\.csv"):
        open_dataset(spec)
    file.write_text('{"file_name": "a.png", "text": "a"}\n{"file_name": ')
    with pytest.raises(DataError, match=r"metadata\.jsonl: line 2 is no JSON"):
        open_dataset(spec)
    file.write_text('{"file_name": "a.png", "caption": "a"}\n')
    with pytest.raises(
        DataError, match="row 1 has file_name, caption: file_name and text are need"
    ):
        open_dataset(spec)
    file.write_text('{"file_name": "a.png", "text": "a"}\n')
    with pytest.raises(DataError, match="lists 1 images: two or more"):
        open_dataset(spec)
    for name in "abc":
        with file.open("a") as lines:
            lines.write(f'{{"file_name": "{name}.png", "text": "{name}"}}\n')
        if name != "b":
            picture().save(root / f"{name}.png")
    with pytest.raises(DataError, match=r"b\.png \(cannot be read \(No such file"):
        open_dataset(spec)
    assert "b" not in open_dataset(spec, bad_images="skip").captions
