"""A caption for every sample, and what a tokenizer makes of all of them."""

import pytest

from vitrail.data.captions import COUNTED, count_captions
from vitrail.data.text import Tokenizer

CHINESE = [
    f"一张在公园里拍摄的照片，背景是高大的树木和蓝色的天空，画面中央有一只{animal}在第{i}号长椅旁边"
    for i, animal in enumerate(["猫", "狗", "狐狸", "狼"] * 8)
]
ENGLISH = [
    f"a photograph that was taken in a park, {'with tall trees, ' * 7}of a {w}" for w in "ab"
]


@pytest.mark.parametrize("captions", [CHINESE, ENGLISH])
def test_a_trained_vocabulary_has_a_context_for_its_captions(captions: list[str]) -> None:
    tokenizer = Tokenizer.train(captions, 300)
    ids = tokenizer(captions)
    assert len(ids.unique(dim=0)) == len(captions)
    assert tokenizer.context == max(tokenizer.lengths(captions))
    figures = count_captions(captions, tokenizer)
    assert (figures.cut, figures.longest) == (0, tokenizer.context)
    short = Tokenizer.train(captions, 300, context=32)
    assert len(short(captions).unique(dim=0)) == 1
    assert count_captions(captions, short) == figures._replace(cut=len(captions), distinct_ids=1)


def test_a_context_has_limits() -> None:
    assert Tokenizer.train(["a cat"], 300).context == 32
    assert Tokenizer.train(["word " * 2000], 300).context == 256


def test_lengths_are_those_before_any_text_is_cut() -> None:
    texts = ["", "a cat", "a cat on a mat " * 40, "😀👍🏽"]
    short, long = (Tokenizer.train(texts, 400, context=n) for n in (3, 512))
    assert short.lengths(texts) == long.lengths(texts)
    ends = [(row == long.end).nonzero()[0].item() + 1 for row in long(texts)]
    assert long.lengths(texts) == ends


def test_empty_and_equal_captions_are_counted() -> None:
    tokenizer = Tokenizer.train(["a cat", "a dog"], 300)
    figures = count_captions(["a cat", "A  CAT", "", "  ", "a dog", "a dog"], tokenizer)
    assert (figures.number, figures.distinct, figures.empty) == (6, 5, 2)
    assert figures.distinct_ids == 3  # capitals and spaces make no difference

    def ids(texts: list[str]) -> object:  # a function without lengths is enough
        return tokenizer(texts)

    ids.context = 32  # type: ignore[attr-defined]
    assert count_captions(["a cat", ""], ids).longest == 0


def test_of_many_captions_some_are_looked_at() -> None:
    figures = count_captions(["a cat"] * (2 * COUNTED + 1), Tokenizer.train(["a cat"], 300))
    assert figures.number <= COUNTED
