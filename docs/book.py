"""The book: a site in English and Chinese, from docs/en, docs/zh, the lessons and the docstrings.

python -m docs.book    # docs/site/en, docs/site/zh, and docs/site/index.html, which chooses

Both languages have the same pages; docs/reference.py makes those of the docstrings.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from html import escape
from pathlib import Path
from typing import Any

import tomllib

from docs import finish, notebooks, reference
from vitrail.learn import Lesson, all_lessons
from vitrail.learn.course import all_stages
from vitrail.methods.registry import get_method, list_methods
from vitrail.models.catalog import model_infos

DOCS = Path(__file__).parent
ROOT, SITE = DOCS.parent, DOCS / "site"
LANGUAGES = ("en", "zh")
MADE = {"lessons", "notebooks", "reading_map", "reference", "terms"}  # pages that this file makes
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
SWITCH = re.compile(r"^\[(中文|English)\]\([^)]*\)\n+", re.MULTILINE)
BOOK: dict[str, Any] = tomllib.loads((DOCS / "book.toml").read_text("utf-8"))
WORDS: dict[str, dict[str, str]] = BOOK["words"]


def source_of(name: str, language: str) -> Path:
    """The file of a page."""
    if name == "readme":
        return ROOT / ("README.zh.md" if language == "zh" else "README.md")
    return DOCS / language / f"{name}.md"


def title_of(name: str, language: str) -> str:
    """The title of a page."""
    if name in MADE:
        return WORDS[language][name]
    return source_of(name, language).read_text("utf-8").partition("\n")[0].removeprefix("# ")


def relink(text: str, pages: set[str]) -> str:
    """A page's text with links that hold in the book: to its pages, to pictures, or none."""

    def replace(match: re.Match[str]) -> str:
        bang, label, target = match.groups()
        path, _, anchor = target.partition("#")
        if not path or "://" in target:
            return match[0]
        if bang:
            return f"![{label}](images/{Path(path).name})"
        name = Path(path).name.removesuffix(".md").removesuffix(".zh")
        name = {"README": "readme"}.get(name, name)
        if path.endswith(".md") and name in pages:
            return f"[{label}]({name}.md{'#' * bool(anchor)}{anchor})"
        return label  # a file of the repository

    return LINK.sub(replace, SWITCH.sub("", text, count=1))


def lesson_page(lesson: Lesson, language: str, folder: Path) -> str:
    """A lesson: its text, its diagram and its questions, with the answers folded away."""
    words = WORDS[language]
    (folder / f"{lesson.name}.svg").write_text(lesson.diagram(language), "utf-8")
    head, _, body = lesson.text(language).strip().partition("\n")
    about = words["minutes"].format(minutes=lesson.minutes, file=lesson.file, **lesson.paper)
    parts = [head, f"> {about}", f"![{lesson.title.of(language)}]({lesson.name}.svg)", body.strip()]
    parts.append(words["start"].format(name=lesson.id))
    parts.append(f"## {words['quiz']}")
    for number, question in enumerate(lesson.quiz, 1):
        parts.append(f"**{number}. {question.text.of(language)}**")
        for choice in question.choices:
            verdict = words["right" if choice.right else "wrong"]
            why = escape(choice.why.of(language))
            parts.append(
                f"<details><summary>{escape(choice.text.of(language))}</summary>"
                f"<p>{verdict} {why}</p></details>"
            )
    return "\n\n".join(parts) + "\n"


def write_lessons(folder: Path, language: str) -> None:
    """All lessons, and their list by stage."""
    lessons, words = all_lessons(), WORDS[language]
    minutes = sum(lesson.minutes for lesson in lessons)
    parts = [f"# {words['lessons']}", words["course"].format(count=len(lessons), minutes=minutes)]
    for stage in all_stages():
        own = [lesson for lesson in lessons if lesson.stage == stage.name]
        if not own:
            continue
        (folder / "lessons" / stage.name).mkdir(parents=True)
        names = [f"lessons/{lesson.id}" for lesson in own]
        parts.append(f"## {stage.title.of(language)}")
        parts.append("\n".join(["```{toctree}", ":maxdepth: 1", "", *names, "```"]))
        for lesson in own:
            page = lesson_page(lesson, language, folder / "lessons" / stage.name)
            (folder / f"lessons/{lesson.id}.md").write_text(page, "utf-8")
    (folder / "lessons.md").write_text("\n\n".join(parts) + "\n", "utf-8")


def reading_map(language: str) -> str:
    """Papers beside files and lessons."""
    words, rows = WORDS[language], defaultdict[tuple[str, str], list[str]](list)
    for lesson in all_lessons():
        link = f"[{lesson.title.of(language)}](lessons/{lesson.id}.md)"
        head = lesson.paper
        key = (f"[{head['title']}]({head['url']})", f"`{lesson.file}`")
        rows[key].append(f"{head['section']} | {link}")
    listed_urls = {lesson.paper["url"] for lesson in all_lessons()}
    lines = [words["map_head"], "| --- | --- | --- | --- |"]
    for (title, file), entries in sorted(rows.items()):
        for entry in entries:
            section, _, link = entry.partition(" | ")
            lines.append(f"| {title} | {section} | {file} | {link} |")
    classes = [*(info.model for info in model_infos()), *map(get_method, list_methods())]
    for each in classes:
        paper = getattr(each, "paper", None)
        if paper is not None and paper.url not in listed_urls:
            listed_urls.add(paper.url)
            file = each.__module__.removeprefix("vitrail.").replace(".", "/")
            lines.append(f"| [{paper.title}]({paper.url}) | | `{file}.py` | |")
    resources = "\n".join(
        f"- [{entry['title']}]({entry['url']}): {entry['about'][language]}"
        for entry in BOOK["resources"]
    )
    parts = [f"# {words['reading_map']}", words["map_text"], "\n".join(lines)]
    return "\n\n".join([*parts, f"## {words['resources']}", resources]) + "\n"


def terms() -> list[dict[str, Any]]:
    """The entries of the glossary, by their English words."""
    entries = tomllib.loads((DOCS / "terms.toml").read_text("utf-8"))["terms"]
    return sorted(entries, key=lambda entry: entry["en"].lower())


def terms_page(language: str) -> str:
    """The glossary: each term in both languages, what it is, and the page that tells more."""
    words = WORDS[language]
    lines = [words["terms_head"], "| --- | --- | --- | --- |"]
    for term in terms():
        see = f"[{title_of(term['see'], language)}]({term['see']}.md)"
        lines.append(f"| {term['en']} | {term['zh']} | {term['about'][language]} | {see} |")
    return "\n\n".join([f"# {words['terms']}", words["terms_text"], "\n".join(lines)]) + "\n"


def write_reference(folder: Path, language: str) -> None:
    """A page per package."""
    (folder / "reference").mkdir()
    for package in reference.PACKAGES:
        page = reference.page(package, language)
        (folder / "reference" / f"{package}.md").write_text(page, "utf-8")
    words = WORDS[language]
    names = [f"reference/{package}" for package in reference.PACKAGES]
    toctree = "\n".join(["```{toctree}", ":maxdepth: 1", "", *names, "```"])
    text = f"# {words['reference']}\n\n{words['reference_text']}\n\n{toctree}\n"
    (folder / "reference.md").write_text(text, "utf-8")


def write_sources(folder: Path, language: str) -> None:
    """Writes the sources of one language, as Sphinx reads them.

    Args:
        folder: where to, emptied before.
        language: "en" or "zh".
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DOCS / "images", folder / "images")
    for picture in (ROOT / "benchmarks" / "results").glob("*.png"):
        shutil.copy(picture, folder / "images")
    pages = {name for part in BOOK["parts"] for name in part["pages"]}
    write_lessons(folder, language)
    (folder / "reading_map.md").write_text(reading_map(language), "utf-8")
    (folder / "terms.md").write_text(terms_page(language), "utf-8")
    write_reference(folder, language)
    notebooks.write_pages(folder, language, WORDS[language])
    for name in pages - MADE:
        text = relink(source_of(name, language).read_text("utf-8"), pages)
        if name == "explorer":
            text = text.replace("\n## ", f"\n{explorer_links(language)}\n\n## ", 1)
        (folder / f"{name}.md").write_text(text, "utf-8")
    trees = [
        "\n".join(
            [
                "```{toctree}",
                f":caption: {part['title'][language]}",
                ":maxdepth: 1",
                "",
                *part["pages"],
                "```",
            ]
        )
        for part in BOOK["parts"]
    ]
    words = WORDS[language]
    picture = f"![{words['index_picture']}](images/look.jpg)"
    index = ["# Vitrail", words["index_text"], picture, words["index_start"], *trees]
    (folder / "index.md").write_text("\n\n".join(index) + "\n", "utf-8")
    if language == "zh":
        for file in folder.rglob("*.md"):
            file.write_text(finish.join_lines(file.read_text("utf-8")), "utf-8")


def explorer_links(language: str) -> str:
    """The sentences that lead to the explorer's pages that were written."""
    words = WORDS[language]
    links = [
        f'<p><a href="../{folder}/index.html" target="_blank">{words[f"{folder}_open"]}</a></p>'
        for folder in ("explorer", "explorer_live")
        if (SITE / folder / "index.html").is_file()
    ]
    return "\n".join(links) or words["explorer_missing"]


def build(language: str) -> None:
    """Builds the site in one language; a broken link or a warning is an error."""
    source = SITE / "source" / language
    write_sources(source, language)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    settings = {"BOOK_LANGUAGE": language, "BOOK_DOCS": str(DOCS)}
    subprocess.run(
        [*command, "-c", str(DOCS), str(source), str(SITE / language)],
        env={**os.environ, **settings},
        check=True,
    )
    for page in (SITE / language).rglob("*.html"):
        text = finish.give_levels(page.read_text("utf-8"))
        if language == "zh":
            text = finish.translate_controls(text, BOOK["controls"])
        page.write_text(text, "utf-8")


def main() -> None:
    """Builds both languages."""
    shutil.rmtree(SITE, ignore_errors=True)
    finish.write_explorer(SITE / "explorer")
    finish.write_live_explorer(SITE / "explorer_live")
    for language in LANGUAGES:
        build(language)
    choose = (
        '<!doctype html><meta charset="utf-8"><title>Vitrail</title><script>location.replace('
        '(navigator.language.startsWith("zh") ? "zh" : "en") + "/index.html")</script>'
        '<p><a href="en/index.html">English</a> · <a href="zh/index.html" lang="zh">中文</a></p>'
    )
    (SITE / "index.html").write_text(choose, "utf-8")
    print(f"written: {sum(1 for _ in SITE.glob('*/**/*.html'))} pages in docs/site")


if __name__ == "__main__":
    main()
