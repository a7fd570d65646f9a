"""Notebooks: both languages beside the same code, and the page to print has all of it."""

import re

import jupytext
import pytest

from docs import notebooks

NAMES = list(notebooks.sources())


@pytest.mark.parametrize("name", NAMES)
def test_each_text_is_there_in_both_languages(name: str) -> None:
    notebook = jupytext.read(notebooks.sources()[name])
    kinds = [cell.metadata.get("lang", "code") for cell in notebook.cells]
    texts = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    pairs = re.fullmatch(r"((en zh|code) ?)+", " ".join(kinds))
    assert pairs, "a text in English, then the same in Chinese, then code"
    for english, chinese in zip(texts[::2], texts[1::2], strict=True):
        marks = [
            re.findall(r"^(?:#+|-|\d+\.) ", c.source, re.MULTILINE) for c in (english, chinese)
        ]
        assert marks[0] == marks[1]
        assert re.search(r"[\u4e00-\u9fff]", chinese.source)
        assert not re.search(r"[\u4e00-\u9fff]", english.source)


@pytest.mark.parametrize("name", NAMES)
def test_code_compiles_and_names_no_folder_of_one_machine(name: str) -> None:
    cells = jupytext.read(notebooks.sources()[name]).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    compile(code, name, "exec")
    assert not re.search(r"/home|/root|C:\\\\", code)


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("a\nb\n", "a\nb\n"),
        ("1 of 2\r2 of 2\r      \r", None),
        ("1 of 2\rdone\nnext", "done\nnext\n"),
    ],
)
def test_lines_that_were_written_over_are_not_shown(written: str, shown: str | None) -> None:
    output = notebooks.final_text(notebooks.nbformat.v4.new_output("stream", text=written))
    assert (output and output.text) == shown


def test_no_space_is_drawn_where_a_chinese_line_is_broken() -> None:
    cells = notebooks.in_language(jupytext.read(notebooks.sources()["mae"]), "zh").cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert not re.search("[\u4e00-\u9fff]\n[\u4e00-\u9fff]", text)
    assert re.search("\n- |\n\n", text)


@pytest.mark.parametrize("language", notebooks.LANGUAGES)
def test_the_annotated_vit_is_one_page(language: str) -> None:
    notebook = notebooks.for_book(notebooks.PRINTED, language)
    page = notebooks.printable(notebook, language)
    texts = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    assert page.count("<section>") == len(texts) == page.count("</section>")
    assert "<script" not in page
    assert re.findall(r"""(?:src|href)=["'](?!https://arxiv|data:,)""", page) == []


def test_the_annotated_vit_equals_the_librarys() -> None:
    """Its last cells compare logits and gradients; here they run."""
    cells = jupytext.read(notebooks.sources()[notebooks.PRINTED]).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    names: dict[str, object] = {"__name__": "annotated"}
    exec(compile(code, "annotated_vit", "exec"), names)
    assert names["counts"] == {
        "ViT-B/16": 86_567_656, "ViT-L/16": 304_326_632, "ViT-H/14": 632_045_800,
    }  # fmt: skip


def test_a_notebook_without_its_pictures_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(notebooks.NEEDS, "mae", notebooks.ROOT / "nowhere")
    monkeypatch.setattr(notebooks, "make", pytest.fail)
    notebooks.main(["mae"])
    assert "left out mae" in capsys.readouterr().out
