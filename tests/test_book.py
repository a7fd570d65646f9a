"""The book: every page has its place, its twin in the other language, and links that hold."""

import re
from pathlib import Path

import pytest

from docs import book, drawings, finish, translated, twins
from tools import evidence

CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PAGES = [name for part in book.BOOK["parts"] for name in part["pages"]]


def structure(path: Path) -> tuple[list[int], int, int]:
    """Levels of headings, and the numbers of blocks of code and of pictures."""
    text = path.read_text("utf-8")
    prose = CODE.sub("", text)
    levels = [len(hashes) for hashes in re.findall(r"^(#+) ", prose, re.MULTILINE)]
    return levels, len(CODE.findall(text)), prose.count("![")


def test_every_page_is_in_the_book_once() -> None:
    english = {path.stem for path in (book.DOCS / "en").glob("*.md")}
    assert len(PAGES) == len(set(PAGES))
    assert set(PAGES) == english | book.MADE | {"readme"}


def test_both_languages_have_the_same_pages() -> None:
    english, chinese = (
        {path.name for path in (book.DOCS / language).glob("*.md")} for language in book.LANGUAGES
    )
    assert english == chinese
    assert set(translated.twins()) == set(PAGES) - book.MADE - {*twins.MADE, "readme"}


@pytest.mark.parametrize("name", twins.MADE)
def test_pages_made_from_code_are_the_same_in_chinese(name: str) -> None:
    english, chinese = (book.source_of(name, each).read_text("utf-8") for each in book.LANGUAGES)
    assert chinese == twins.twin(english), "run `make docs`"
    assert re.search("[一-鿿]", chinese)


def test_a_text_without_translation_is_named() -> None:
    with pytest.raises(KeyError, match="has no translation of: A new one"):
        twins.twin("# Settings\n\nA new one.\n")
    with pytest.raises(KeyError, match="A new meaning"):
        twins.twin("| setting | meaning |\n| --- | --- |\n| `a` | A new meaning |\n")


def test_every_table_of_evidence_has_a_chinese_title() -> None:
    assert {row.table for row in evidence.read_rows()} <= twins.texts().keys()


def test_every_translation_of_made_pages_is_used() -> None:
    pages = (book.source_of(name, "en").read_text("utf-8") for name in twins.MADE)
    planned = (row.table for row in evidence.read_rows())  # some are not measured yet
    used = " ".join(" ".join([*pages, *planned]).split())
    unused = [
        key
        for key in twins.texts()
        if not re.search(re.sub(r"\\{\w+\\}", ".+?", re.escape(key)), used)
    ]
    assert not unused


@pytest.mark.parametrize("name", ["readme", *translated.twins()])
def test_both_languages_have_the_same_structure(name: str) -> None:
    english, chinese = (structure(book.source_of(name, each)) for each in book.LANGUAGES)
    assert english == chinese


def test_no_translation_is_stale() -> None:
    assert translated.stale() == [], "compare these, then: python -m docs.translated NAME ..."


def test_a_changed_page_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translated, "DOCS", tmp_path)
    monkeypatch.setattr(translated, "DIGESTS", tmp_path / "translated.json")
    for language in book.LANGUAGES:
        (tmp_path / language).mkdir()
        (tmp_path / language / "a.md").write_text("# A\n\n| 1 |\n")
    translated.main([])
    (tmp_path / "en" / "a.md").write_text("# A\n\n| 2 |\n")  # a figure of a table
    assert translated.stale() == []
    (tmp_path / "en" / "a.md").write_text("# A\n\nNew.\n\n| 2 |\n")
    assert translated.stale() == ["a"]


def test_links_stay_within_the_book() -> None:
    links = "[b](../zh/b.md#c), [x](https://x), [d](../../src/d.py), ![p](../images/p.png)"
    expected = "[b](b.md#c), [x](https://x), d, ![p](images/p.png)"
    assert book.relink(f"[中文](../zh/a.md)\n\n{links}", {"a", "b"}) == expected


def test_a_lesson_has_its_diagram_its_questions_and_no_answer_in_sight(tmp_path: Path) -> None:
    lesson = book.all_lessons()[0]
    page = book.lesson_page(lesson, "zh", tmp_path)
    assert page.startswith("# ") and f"]({lesson.name}.svg)" in page
    assert (tmp_path / f"{lesson.name}.svg").read_text("utf-8").startswith("<svg")
    choices = sum(len(question.choices) for question in lesson.quiz)
    assert page.count("<details>") == page.count("</details>") == choices
    assert page.count("正确。") == len(lesson.quiz)


def test_the_reading_map_names_every_lesson() -> None:
    page = book.reading_map("en")
    assert all(f"lessons/{lesson.id}.md" in page for lesson in book.all_lessons())


def test_diagrams_are_those_of_the_lessons() -> None:
    pages = [book.source_of("how_it_works", each).read_text("utf-8") for each in book.LANGUAGES]
    for name, diagram in drawings.diagrams().items():
        assert (book.DOCS / "images" / name).read_text("utf-8") == diagram, "run `make docs`"
        assert f"](../images/{name})" in pages[name.endswith(".zh.svg")]


def test_chinese_lines_follow_without_a_space() -> None:
    text = "一行\n二行，\nViT\n（三）\n\n- 四\n\n（五）\n\n```\n代码\n代码\n```\n"
    joined = "一行二行，\nViT（三）\n\n- 四\n\n（五）\n\n```\n代码\n代码\n```\n"
    assert finish.join_lines(text) == joined


def test_captions_of_the_navigation_have_a_level() -> None:
    page = '<p class="caption" role="heading"><span>How to</span></p>'
    expected = '<p class="caption" role="heading" aria-level="2"><span>How to</span></p>'
    assert finish.give_levels(page) == expected


def test_chinese_search_splits_pages_and_queries_into_pairs() -> None:
    pytest.importorskip("sphinx")
    from docs.chinese_search import ChineseSearch

    terms = ChineseSearch({}).split("ViT 的注意力，块")
    assert terms == ["ViT", "的注", "注意", "意力", "块"]


def test_controls_of_the_theme_are_translated() -> None:
    page = '<a aria-label="Back to top">\n  Back to top\n</a><p>Back to top of it</p>'
    expected = '<a aria-label="回到顶部">\n  回到顶部\n</a><p>Back to top of it</p>'
    assert finish.translate_controls(page, book.BOOK["controls"]) == expected
