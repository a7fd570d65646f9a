"""The page that chooses and the figures: complete, up to date, and nothing overlaps."""

import re
import unicodedata
from pathlib import Path
from xml.etree import ElementTree

import pytest

from docs import build, drawings, tables
from vitrail.methods.purposes import METHOD_PURPOSES
from vitrail.methods.registry import METHODS, get_method
from vitrail.models.builtin_names import MODELS
from vitrail.models.purposes import MODEL_PURPOSES
from vitrail.models.registry import get_model_class, variants

IMAGES = Path(build.__file__).parent / "images"
NAMES = ("decision.svg", "decision.zh.svg", "timeline.svg", "timeline.zh.svg")
SVG = "{http://www.w3.org/2000/svg}"
PAGES = [pytest.param(page, id=page.parent.name) for page in build.CHOOSING]

Box = tuple[float, float, float, float]  # left, top, right, bottom


def test_every_paper_says_what_it_changed() -> None:
    for owner in (*map(get_model_class, MODELS), *map(get_method, METHODS)):
        assert 20 < len(owner.paper.change) <= 72, owner
        assert owner.paper.change.endswith("."), owner


def test_the_timeline_has_every_paper_once_in_order() -> None:
    entries = drawings.milestones()
    names = [entry.name for entry in entries]
    assert {*MODELS, *METHODS} - set(names) == {
        "OfficialVisionMamba",  # the paper of VisionMamba
        "regression",  # older than arXiv
    }
    assert len(names) == len(set(names))
    assert [entry.month for entry in entries] == sorted(entry.month for entry in entries)
    assert all(entry.month[0] == entry.paper.year for entry in entries)
    assert all(1 <= entry.month[1] <= 12 for entry in entries)
    for name, change in drawings.CHINESE["changes"].items():
        assert name in names, name
        assert change in (IMAGES / "timeline.zh.svg").read_text("utf-8")


def test_chinese_is_complete() -> None:
    chinese = drawings.CHINESE
    assert chinese["figures"].keys() == drawings.ENGLISH.keys()
    assert set(chinese["changes"]) == {entry.name for entry in drawings.milestones()}
    purposes = [*MODEL_PURPOSES.values(), *METHOD_PURPOSES.values()]
    texts = {text for each in purposes for text in (each.summary, each.limits)}
    assert tables.REASONS.keys() == texts.union(*(each.reasons.values() for each in purposes))


def test_drawings_are_up_to_date() -> None:
    assert set(drawings.drawings()) == set(NAMES)
    for name, drawing in drawings.drawings().items():
        assert drawing == (IMAGES / name).read_text("utf-8"), "run `make docs`"


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_up_to_date(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text == tables.fill(text, page.parent.name == "zh"), "run `make docs`"
    names = {f"{kind} {purpose}".strip() for _, kind, purpose, _ in tables.TABLE.findall(text)}
    assert names == {
        *(f"models {purpose}" for purpose in MODEL_PURPOSES),
        *(f"methods {purpose}" for purpose in METHOD_PURPOSES),
        "zoo", "growth", "resolution", "machines",
    }  # fmt: skip


def test_figures_of_the_package_are_up_to_date() -> None:
    for path, content in build.package_figures().items():
        assert content == path.read_text("utf-8"), "run `make docs`"


@pytest.mark.parametrize("page", PAGES)
def test_the_usual_names_have_these_parameters(page: Path) -> None:
    rows = re.findall(r"^\| [^|]+ \| `(\w+)`[^|]*\| ([\d.]+) M", page.read_text("utf-8"), re.M)
    assert len(rows) == 6
    for name, millions in rows:
        assert f"{variants()[name].variant.parameters / 1e6:.1f}" == millions, name


def width(content: str, size: float, style: str) -> float:
    """An upper bound of a text's width, in a wide font."""
    latin = 0.62 if "code" in style or "bold" in style else 0.57
    return sum(size if unicodedata.east_asian_width(c) in "WF" else latin * size for c in content)


def text_boxes(drawing: ElementTree.Element) -> list[tuple[str, Box]]:
    boxes = []
    for node in drawing.iter(f"{SVG}text"):
        size, x, y = (float(node.attrib[key]) for key in ("font-size", "x", "y"))
        content = node.text or ""
        length = width(content, size, node.attrib["class"])
        left = x - length * {"end": 1, "middle": 0.5}.get(node.attrib.get("text-anchor", ""), 0)
        boxes.append((content, (left, y - 0.9 * size, left + length, y + 0.3 * size)))
    return boxes


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@pytest.mark.parametrize("name", NAMES)
def test_texts_do_not_overlap_and_stay_inside(name: str) -> None:
    drawing = ElementTree.parse(IMAGES / name).getroot()
    _, _, right, bottom = map(float, drawing.attrib["viewBox"].split())
    boxes = text_boxes(drawing)
    assert len(boxes) > 30
    for number, (content, box) in enumerate(boxes):
        assert box[0] >= 0 and box[2] <= right and box[1] >= 0 and box[3] <= bottom, content
        for other, other_box in boxes[:number]:
            assert not overlap(box, other_box), (content, other)
    cards = [n.attrib for n in drawing.iter(f"{SVG}rect") if n.attrib["class"] == "card"]
    for card in cards:
        x, y, wide, high = (float(card[key]) for key in ("x", "y", "width", "height"))
        for content, box in boxes:
            if overlap(box, (x, y, x + wide, y + high)):
                assert x < box[0] and box[2] < x + wide and y < box[1] and box[3] < y + high, (
                    content
                )


def test_colors_follow_the_reader() -> None:
    for drawing in drawings.drawings().values():
        assert "@media (prefers-color-scheme: dark)" in drawing
        assert not re.search(r'(fill|stroke)="#', drawing)  # a color of its own would not follow
        assert 'class="sheet"' in drawing
