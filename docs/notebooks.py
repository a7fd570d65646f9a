"""Notebooks in two languages, from one script each, and the annotated ViT to print.

    python -m docs.notebooks                  # runs all of notebooks/*.py that have changed
    python -m docs.notebooks mae video        # runs these

A script holds cells ("# %%", as in jupytext); a text cell has a language, and code belongs to both.
It runs once, and notebooks/made/en and notebooks/made/zh get the same outputs below each language's
text. What was made of a script that has not changed is kept.
"""

import hashlib
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from html import escape
from pathlib import Path

import jupytext
import nbformat
from markdown_it import MarkdownIt
from nbformat import NotebookNode
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

ROOT = Path(__file__).parents[1]
SOURCES, MADE = ROOT / "notebooks", ROOT / "notebooks" / "made"
LANGUAGES = ("en", "zh")
SECONDS = 300  # for a cell, on a slow machine
NEEDS = {"fine_tuning": Path("/usr/share/tuxpaint/stamps")}  # folders, without which it is left out
DIGEST = "source_sha256"
# A line that is broken between two Chinese characters would be drawn with a space there.
WIDE = "[\u2014-\u201d\u3000-\u9fff\uff00-\uffef]"
BREAK = re.compile(f"(?<={WIDE})\n(?={WIDE})")
PRINTED = "annotated_vit"

PRINT = """<!doctype html>
<html lang="{language}"><head><meta charset="utf-8">
<link rel="icon" href="data:,"><title>{title}</title><style>
@page {{ size: A4; margin: 12mm }}
body {{ font: 10pt/1.5 system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC",
  "WenQuanYi Micro Hei", sans-serif; max-width: 190mm; margin: auto; color: #111;
  background: #fff }}
section {{ display: grid; grid-template-columns: 4fr 5fr; gap: 6mm; align-items: start }}
section > * {{ min-width: 0 }}
h1 {{ font-size: 16pt }} h2 {{ font-size: 11.5pt; margin: 2mm 0 }}
pre {{ font: 7.6pt/1.45 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; margin: 1mm 0;
  white-space: pre-wrap; break-inside: avoid }}
pre.output {{ border-left: 2px solid #999; padding-left: 2mm; color: #333 }}
@media (max-width: 700px) {{ section {{ display: block }} }}
{style}</style></head><body>
{body}
</body></html>
"""


def sources() -> dict[str, Path]:
    """The scripts by name."""
    return {path.stem: path for path in sorted(SOURCES.glob("*.py"))}


def digest(path: Path) -> str:
    """The sha256 of a script."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def in_language(notebook: NotebookNode, language: str) -> NotebookNode:
    """The cells of one language, and those of both.

    Args:
        notebook: its text cells have the metadata "lang".
        language: "en" or "zh".
    """
    cells = [
        nbformat.from_dict({**cell, "source": BREAK.sub("", cell.source)})
        if cell.cell_type == "markdown"
        else cell
        for cell in notebook.cells
        if cell.metadata.get("lang", language) == language
    ]
    return nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)


def is_made(name: str) -> bool:
    """Whether both notebooks of a script are there and were made from it as it is."""
    want = digest(sources()[name])
    paths = [MADE / language / f"{name}.ipynb" for language in LANGUAGES]
    return all(p.exists() and nbformat.read(p, 4).metadata.get(DIGEST) == want for p in paths)


def final_text(output: NotebookNode) -> NotebookNode | None:
    """What a terminal shows in the end, of lines that were written over; None for nothing."""
    if output.output_type != "stream":
        return output
    lines = [line.rpartition("\r")[2].rstrip() for line in output.text.split("\n")]
    text = "\n".join(lines).strip("\n")
    return nbformat.from_dict({**output, "text": f"{text}\n"}) if text.strip() else None


def make(name: str) -> None:
    """Runs a script and writes its notebooks.

    Raises:
        CellExecutionError: a cell failed.
    """
    from nbclient import NotebookClient  # the tests do without a kernel

    notebook = jupytext.read(sources()[name])
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    notebook.metadata[DIGEST] = digest(sources()[name])
    folder = MADE / "work" / name  # what the cells write
    folder.mkdir(parents=True, exist_ok=True)
    client = NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": folder}})
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times of day
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(final_text, cell.outputs) if output]
    for language in LANGUAGES:
        (MADE / language).mkdir(exist_ok=True)
        nbformat.write(in_language(notebook, language), MADE / language / f"{name}.ipynb")


def for_book(name: str, language: str) -> NotebookNode:
    """The notebook as made or, where it was not, without outputs."""
    path = MADE / language / f"{name}.ipynb"
    if is_made(name):
        return nbformat.read(path, 4)
    return in_language(jupytext.read(sources()[name]), language)


def printable(notebook: NotebookNode, language: str) -> str:
    """A page with text on the left and its code on the right, to print."""
    markdown, formatter = MarkdownIt(), HtmlFormatter(nowrap=True, style="friendly")
    sections: list[tuple[list[str], list[str]]] = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            sections.append(([markdown.render(cell.source)], []))
            continue
        code = sections[-1][1]
        code.append(f"<pre>{highlight(cell.source, PythonLexer(), formatter)}</pre>")
        texts = [o.text for o in cell.get("outputs", []) if o.output_type == "stream"]
        code += [f'<pre class="output">{escape(text)}</pre>' for text in texts]
    title = notebook.cells[0].source.splitlines()[0].lstrip("# ")
    body = "\n".join(
        f"<section><div>{''.join(text)}</div><div>{''.join(code)}</div></section>"
        for text, code in sections
    )
    style = HtmlFormatter(style="friendly").get_style_defs("pre")
    return PRINT.format(language=language, title=escape(title), style=style, body=body)


def write_pages(folder: Path, language: str, words: dict[str, str]) -> None:
    """The book's pages: the notebooks, a list of them, and the annotated ViT to print.

    Args:
        folder: where the sources of the book are written.
        language: "en" or "zh".
        words: the sentences of the list.
    """
    (folder / "notebooks").mkdir()
    for name in sources():
        notebook = for_book(name, language)
        notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "python"}
        nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")
        if name == PRINTED:
            page = printable(notebook, language)
            (folder / "notebooks" / f"{name}.html").write_text(page, "utf-8")
    links = [f"[`{name}.ipynb`](path:notebooks/{name}.ipynb)" for name in sources()]
    parts = [
        f"# {words['notebooks']}",
        words["notebooks_text"].format(links=", ".join(links)),
        words["print"].format(page=f"path:notebooks/{PRINTED}.html"),
        "\n".join(
            ["```{toctree}", ":maxdepth: 1", "", *(f"notebooks/{n}" for n in sources()), "```"]
        ),
    ]
    (folder / "notebooks.md").write_text("\n\n".join(parts) + "\n", "utf-8")


def main(names: list[str]) -> None:
    """Makes notebooks, two at a time.

    Args:
        names: of scripts; none for all that have changed.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    chosen = names or [name for name in sources() if not is_made(name)]
    for name in [name for name in chosen if not NEEDS.get(name, ROOT).exists()]:
        print(f"left out {name}: {NEEDS[name]} is not there (make stamps)")
        chosen.remove(name)
    with ThreadPoolExecutor(2) as pool:
        for name, _ in zip(chosen, pool.map(make, chosen), strict=True):
            print("made", name)


if __name__ == "__main__":
    main(sys.argv[1:])
