"""The reference: its Chinese texts are complete, used, and those of today's docstrings."""

import re

import pytest
import tomllib

from docs import reference, twins

DOCSTRING = """A model.

It has `heads`,
in rows.

    x → y

Args:
    heads: number of heads; one of
        - 1, and
          no more;
        - 2.

Returns:
    (B, N).

Example:
    >>> 1
    1"""


def test_every_text_of_the_reference_has_a_chinese_translation() -> None:
    missing = [f"{name}: {text}" for text, name in reference.missing().items()]
    assert not missing, "add to docs/zh_api (`python -m docs.reference` prints the lines)"


def test_every_translation_of_the_reference_is_used_and_stands_once() -> None:
    tables = [tomllib.loads(file.read_text("utf-8")) for file in reference.TABLES.glob("*.toml")]
    keys = [key for table in tables for key in table]
    said = {text for _name, doc in reference.docstrings() for _before, text in reference.split(doc)}
    assert not set(keys) - said, "no docstring says this any more"
    assert len(keys) == len(set(keys)), "a text is in two files of docs/zh_api"
    assert not set(keys) & set(twins.texts()), "docs/made_zh.toml has it already"
    for table in tables:
        for english, chinese in table.items():
            for quoted in ("`[^`]+`", '"[^"]*"'):
                names = [set(re.findall(quoted, text)) for text in (english, chinese)]
                assert names[0] == {name.replace("docs/zh/", "docs/en/") for name in names[1]}


def test_a_docstring_is_translated_text_by_text(monkeypatch: pytest.MonkeyPatch) -> None:
    chinese = {
        "A model.": "模型。", "It has `heads`, in rows.": "排成行。", "(B, N).": "(B, N)。",
        "number of heads; one of": "头数：", "1, and no more;": "1；", "2.": "2。",
    }  # fmt: skip
    monkeypatch.setattr(reference, "texts", lambda: chinese)
    assert reference.translate(DOCSTRING).splitlines() == [
        "模型。", "", "排成行。", "", "    x → y", "",
        "Args:", "    heads: 头数：", "        - 1；", "        - 2。", "",
        "Returns:", "    (B, N)。", "", "Example:", "    >>> 1", "    1",
    ]  # fmt: skip
    assert {words for _before, words in reference.split(DOCSTRING)} == {*chinese, ""}


def test_a_page_has_the_package_in_its_language_and_no_bare_fields() -> None:
    chinese, english = (reference.page("vitrail.deploy", each) for each in ("zh", "en"))
    assert chinese.startswith("# vitrail.deploy\n\n部署模型。\n")
    assert english.startswith("# vitrail.deploy\n\nShipping a model.\n")
    assert ".. autofunction:: vitrail.deploy.fuse" in chinese
    assert "Exported\n   :members:\n   :exclude-members: path, weights, inputs, diff" in chinese


def test_the_reference_shows_what_autodoc_does() -> None:
    names = [name for name, _docstring in reference.docstrings()]
    assert len(names) == len(set(names)) > 800
    assert {"vitrail.VitrailError", "vitrail.train.fit", "vitrail.models.ViT.pooled_dim"} < {*names}
    assert "vitrail.train.TrainingRun.folder" not in names  # a field, which its class explains
