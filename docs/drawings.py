"""The figures of the pages, as SVG that follows the reader's light or dark setting."""

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import tomllib

from vitrail.learn import all_lessons
from vitrail.lens.theme import DARK, LIGHT, css_variables
from vitrail.methods.purposes import METHOD_PURPOSES
from vitrail.methods.registry import METHODS, get_method
from vitrail.models.paper import Paper
from vitrail.models.purposes import MODEL_PURPOSES
from vitrail.models.registry import MODELS, get_model_class, variants

CHINESE = tomllib.loads(Path(__file__).with_name("chinese.toml").read_text("utf-8"))
WIDTH, MARGIN = 900, 16

ENGLISH: dict[str, Any] = {
    "timeline": "The papers of all models and training methods, by the month of their arXiv number",
    "models": "model",
    "methods": "training method",
    "decision": "Which method and which model: from the data to the device and the task",
    "data": "1 How many images have a label?",
    "small-budget": ("Few images", "published weights and"),
    "few-labels": ("Few labels", "pretrain, fine-tune"),
    "no-labels": ("No labels", "pretrain only"),
    "labels": ("All have a label", "with a teacher or not"),
    "captions": ("All have captions", "classes by their names"),
    "device": "2 Where does the model run?",
    "edge": ("On a phone or a small computer", "10 M parameters, 1.3 G multiply-adds at most"),
    "server": ("On a server, with or without a GPU", "any size: the task decides"),
    "task": "3 What is its task?",
    "classification": ("Classify images", "any method trains it"),
    "small-data": ("Few images", "weights or convolution"),
    "detection": ("Detect, segment", "maps of four strides"),
    "video": ("Videos, volumes", "three axes"),
    "long-sequences": ("Large images", "linear in the tokens"),
}

STYLE = f"""<style>
svg {{ {css_variables(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ svg {{ {css_variables(DARK)} }} }}
text {{ font-family: system-ui, "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif;
  fill: var(--ink) }}
.bold {{ font-weight: 600 }} .quiet {{ fill: var(--quiet) }}
.code {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace }}
.sheet {{ fill: var(--paper) }} .card {{ fill: var(--card); stroke: var(--lead) }}
.line {{ stroke: var(--line) }} .arrow {{ stroke: var(--lead); fill: none; stroke-width: 1.5 }}
.model {{ fill: var(--glass) }} .method {{ fill: var(--amber) }}
</style>"""


class Milestone(NamedTuple):
    """A paper of the timeline, by the name of its model class or method."""

    name: str
    paper: Paper
    is_model: bool

    @property
    def month(self) -> tuple[int, int]:
        """Year and month that the number of arXiv begins with."""
        number = self.paper.url.rpartition("/")[2]
        return 2000 + int(number[:2]), int(number[2:4])


def milestones() -> list[Milestone]:
    """The papers of all models and methods on arXiv, in order, each once."""
    papers: dict[Paper, Milestone] = {}
    for name in sorted(MODELS, key=lambda name: len(get_model_class(name).__mro__)):
        paper = get_model_class(name).paper
        papers.setdefault(paper, Milestone(name, paper, True))
    entries = [*papers.values(), *(Milestone(n, get_method(n).paper, False) for n in METHODS)]
    entries = [entry for entry in entries if "arxiv.org" in entry.paper.url]
    return sorted(entries, key=lambda entry: (entry.paper.url, not entry.is_model))


def timeline(chinese: bool = False) -> str:
    """The timeline: one paper a line, with what it changed."""
    words = CHINESE["figures"] if chinese else ENGLISH
    parts = [
        '<circle class="model" cx="24" cy="22" r="5"/>',
        text(36, 26, words["models"], "quiet"),
        '<rect class="method" x="131" y="17" width="10" height="10"/>',
        text(148, 26, words["methods"], "quiet"),
    ]
    y, year = 40, 0
    for entry in milestones():
        if entry.month[0] != year:
            year = entry.month[0]
            parts.append(f'<path class="line" d="M{MARGIN} {y + 4}H{WIDTH - MARGIN}"/>')
            parts.append(text(MARGIN, y + 24, str(year), "bold", size=15))
            y += 8
        y += 24
        if entry.is_model:
            parts.append(f'<circle class="model" cx="145" cy="{y - 12}" r="5"/>')
        else:
            parts.append(f'<rect class="method" x="140" y="{y - 17}" width="10" height="10"/>')
        change = CHINESE["changes"][entry.name] if chinese else entry.paper.change
        parts += [
            text(70, y - 8, f"{year}-{entry.month[1]:02}", "quiet", size=12),
            text(160, y - 8, entry.name, "bold" if entry.is_model else "code", size=13),
            text(296, y - 8, change),
        ]
    return svg(words["timeline"], y + MARGIN, parts)


def decision(chinese: bool = False) -> str:
    """The way from the data to a method, and from the device and the task to a model."""
    words = CHINESE["figures"] if chinese else ENGLISH
    questions = {
        "data": {key: list(METHOD_PURPOSES[key].reasons)[:3] for key in DATA},
        "device": {"edge": [", ".join(models_of("edge"))], "server": []},
        "task": {"classification": ["ViT"]} | {key: models_of(key) for key in TASKS},
    }
    parts: list[str] = []
    y = MARGIN
    for question, answers in questions.items():
        if parts:
            x = WIDTH / 2 if question == "device" else WIDTH * 3 / 4
            parts.append(f'<path class="arrow" d="M{x} {y + 6}v22m-5 -6l5 6l5 -6"/>')
            y += 28
        command = f"vitrail {'methods' if question == 'data' else 'models'} --for ..."
        parts += [
            text(MARGIN, y + 18, words[question], "bold", size=15),
            text(WIDTH - MARGIN, y + 18, command, "code quiet", size=11, anchor="end"),
        ]
        y += 30
        height = 80 + 18 * max(map(len, answers.values()))
        width = (WIDTH - MARGIN * (len(answers) + 1)) / len(answers)
        for number, (key, names) in enumerate(answers.items()):
            x = MARGIN + number * (width + MARGIN)
            parts += answer(x, y, width, height, *words[key], names)
            if key in MODEL_PURPOSES or key in METHOD_PURPOSES:
                parts.append(text(x + 10, y + height - 12, key, "code quiet", size=11))
        y += height
    command = "vitrail train folder:photos model.name=MODEL method.name=METHOD"
    parts.append(text(WIDTH / 2, y + 34, command, "code", anchor="middle"))
    return svg(words["decision"], y + 34 + MARGIN, parts)


DATA = ("small-budget", "few-labels", "no-labels", "labels", "captions")
TASKS = ("small-data", "detection", "video", "long-sequences")


def answer(
    x: float, y: float, width: float, height: float, title: str, advice: str, names: Iterable[str]
) -> list[str]:
    """A box: an answer to the question, and what to choose then."""
    box = f'x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}"'
    return [
        f'<rect class="card" {box} rx="6"/>',
        text(x + 10, y + 22, title, "bold"),
        text(x + 10, y + 40, advice, size=11),
        *(text(x + 10, y + 62 + 18 * i, name, "code", size=12) for i, name in enumerate(names)),
    ]


def models_of(purpose: str) -> list[str]:
    """The classes of the first variants that are recommended, each once, three at most."""
    names = [variants()[n].model.__name__ for n in MODEL_PURPOSES[purpose].reasons]
    return list(dict.fromkeys(names))[:3]


def text(
    x: float, y: float, content: str, style: str = "", size: int = 13, anchor: str = "start"
) -> str:
    """A line of text that begins at x, or has its middle there; y is that of the base line."""
    anchored = "" if anchor == "start" else f' text-anchor="{anchor}"'
    where = f'x="{x:.1f}" y="{y}" font-size="{size}"{anchored}'
    return f'<text class="{style}" {where}>{escape(content)}</text>'


def svg(title: str, height: float, parts: list[str]) -> str:
    """A drawing on a sheet of its own, so that it can be read on a page of any color."""
    box = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img"'
    sheet = f'<rect class="sheet" width="{WIDTH}" height="{height}" rx="8"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>\n<title>{escape(title)}</title>'
    return "\n".join([head, STYLE, sheet, *parts, "</svg>"]) + "\n"


# The diagrams of lessons that docs/en/how_it_works.md shows.
DIAGRAMS = (
    "core/attention", "variants/windows", "variants/shifted_windows", "grids/packing",
    "without_labels/random_masking", "mamba/selective_scan", "mamba/paired_loop", "mamba/fusion",
    "mamba/token_order",
)  # fmt: skip


def diagrams() -> dict[str, str]:
    """The diagrams of lessons by the name of their file in docs/images."""
    lessons = {lesson.id: lesson for lesson in all_lessons()}
    return {
        f"{lessons[name].name}{tongue}.svg": lessons[name].diagram(language)
        for name in DIAGRAMS
        for language, tongue in (("en", ""), ("zh", ".zh"))
    }


def drawings() -> dict[str, str]:
    """All figures of papers by the name of their file in docs/images."""
    tongues: dict[str, dict[str, Any]] = {"": {}, ".zh": {"chinese": True}}
    return {
        f"{draw.__name__}{tongue}.svg": draw(**words)
        for draw in (timeline, decision)
        for tongue, words in tongues.items()
    }
