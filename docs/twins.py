"""The Chinese pages of those that are made from code: each English page, block by block.

docs/made_zh.toml holds the texts, English = Chinese: titles, headings, paragraphs, heads of
tables, and the cells of some columns (`COLUMNS`); SETTINGS holds those that the command line shows
too. `{name}` in a text stands for anything, which is looked up in turn. Cells of other columns stay
as they are, unless they are listed.
"""

import functools
import re
from pathlib import Path

import tomllib

DOCS = Path(__file__).parent
SETTINGS = DOCS.parent / "src" / "vitrail" / "locale" / "zh_errors" / "settings.toml"
MADE = ("config", "models", "parity", "zoo", "it_helps", "evidence")
COLUMNS = ("value", "meaning", "what had to be made equal")  # whose cells must all be listed
BAR = re.compile(r"(?<!\\)\|")  # between cells


@functools.cache
def texts() -> dict[str, str]:
    """The translations, English = Chinese: also those that the command line shows."""
    pages = tomllib.loads((DOCS / "made_zh.toml").read_text("utf-8"))
    shown = tomllib.loads(SETTINGS.read_text("utf-8"))
    kinds = {key.rstrip("."): text.rstrip("。") for key, text in shown["kinds"].items()}
    return pages | shown["settings"] | kinds


@functools.cache
def patterns() -> list[tuple[re.Pattern[str], str]]:
    """The translations with places for other texts."""
    return [
        (re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+?)", re.escape(key)), re.DOTALL), chinese)
        for key, chinese in texts().items()
        if re.search(r"{\w+}", key)
    ]


def translate(text: str) -> str | None:
    """The Chinese of a text; None where docs/made_zh.toml has none."""
    if text in texts():
        return texts()[text]
    for pattern, chinese in patterns():
        if match := pattern.fullmatch(text):
            parts = {name: translate(part) or part for name, part in match.groupdict().items()}
            return re.sub(r"{(\w+)}", lambda m, parts=parts: parts.get(m[1], m[0]), chinese)
    return None


def required(text: str) -> str:
    """The Chinese of a text.

    Raises:
        KeyError: docs/made_zh.toml has none.
    """
    chinese = translate(text)
    if chinese is None:
        raise KeyError(
            f"docs/made_zh.toml (or zh_errors/settings.toml) has no translation of: {text}"
        )
    return chinese


def cells_of(row: str) -> list[str]:
    """The cells of a row."""
    return [cell.strip() for cell in BAR.split(row)[1:-1]]


def table(lines: list[str]) -> list[str]:
    """A table with its head and the cells that are listed in Chinese."""
    head, rule, *rows = lines
    columns = cells_of(head)
    translated = [f"| {' | '.join(required(name) if name else '' for name in columns)} |", rule]
    for row in rows:
        cells = cells_of(row)
        for number, (column, cell) in enumerate(zip(columns, cells, strict=True)):
            if cell:
                by_name = required if column in COLUMNS else translate
                cells[number] = by_name(cell) or cell
        translated.append(f"| {' | '.join(cells)} |")
    return translated


def twin(page: str) -> str:
    """The Chinese version of an English page that was made from code."""
    blocks = []
    for block in re.split(r"\n{2,}", page.strip()):
        if block.startswith("|"):
            blocks.append("\n".join(table(block.splitlines())))
            continue
        hashes = "".join(re.findall(r"^#+ ", block))
        text = " ".join(block.removeprefix(hashes).split("\n"))
        is_name = len(hashes) > 2 and " " not in text  # of a section, a model or a method
        blocks.append(hashes + (text if is_name else required(text)))
    return "\n\n".join(blocks) + "\n"


def write() -> None:
    """Writes the Chinese pages."""
    for name in MADE:
        english = (DOCS / "en" / f"{name}.md").read_text("utf-8")
        (DOCS / "zh" / f"{name}.md").write_text(twin(english), "utf-8")


if __name__ == "__main__":
    write()
