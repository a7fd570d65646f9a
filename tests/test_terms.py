"""Chinese pages, lessons and messages use the words of the glossary."""

import re
from pathlib import Path

import pytest

from docs import book

ROOT = book.ROOT
TERMS = book.terms()
CHINESE = "[一-鿿]"


def chinese_texts() -> dict[str, str]:
    """Everything that is written in Chinese, by file; of the glossary, its own words only."""
    lessons = ROOT / "src" / "vitrail" / "learn" / "lessons"
    files = [
        ROOT / "README.zh.md", *(ROOT / "src" / "vitrail" / "locale").rglob("*.toml"),
        *(ROOT / "docs" / name for name in ("chinese.toml", "made_zh.toml", "book.toml")),
        *(ROOT / "docs" / "zh").glob("*.md"), *(ROOT / "docs" / "zh_api").glob("*.toml"),
        *lessons.rglob("*.zh.md"), *lessons.rglob("*.toml"),
        *(ROOT / "notebooks").glob("*.py"), lessons.parent / "flow_map.py",
    ]  # fmt: skip
    texts = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in files}
    return texts | {"docs/terms.toml": " ".join(f"{t['zh']} {t['about']['zh']}" for t in TERMS)}


def foreign_words(text: str) -> list[str]:
    """Words that the glossary replaces, with what stands around them."""
    words = [word for term in TERMS for word in term["not"]]
    pattern = re.compile("|".join(sorted(map(re.escape, words), key=len, reverse=True)))
    return [text[max(0, m.start() - 10) : m.end() + 10] for m in pattern.finditer(text)]


def test_chinese_texts_keep_to_the_glossary() -> None:
    texts = chinese_texts()
    assert len(texts) > 100
    offences = {name: foreign_words(text) for name, text in texts.items()}
    assert not {name: words for name, words in offences.items() if words}, "see docs/terms.toml"


def test_a_foreign_word_is_found() -> None:
    assert foreign_words("每个图块变成一个 token") == ["每个图块变成一个 token"]
    assert foreign_words("每个图像块变成一个 token") == []


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term["en"])
def test_a_term_is_used_and_leads_to_a_page(term: dict[str, str]) -> None:
    pages = {name for part in book.BOOK["parts"] for name in part["pages"]}
    assert term["see"] in pages
    word = re.split("[（、]", term["zh"])[0]
    written = "".join(p.read_text("utf-8") for p in Path(ROOT / "docs" / "zh").glob("*.md"))
    lessons = ROOT / "src" / "vitrail" / "learn" / "lessons"
    written += "".join(p.read_text("utf-8") for p in lessons.rglob("*.zh.md"))
    assert word in written, f"no Chinese page says {word}"
