"""The map on one page: what it names is there, and its texts are within their boxes."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import vitrail
from vitrail.learn import all_lessons
from vitrail.learn.flow_map import LANES, flow_map

PACKAGE = Path(vitrail.__file__).parent
STOPS = [stop for lane in LANES for stop in lane.stops]


def test_files_and_lessons_are_there() -> None:
    lessons = {lesson.id for lesson in all_lessons()}
    assert {name for stop in STOPS for name in stop.lessons} <= lessons
    assert [stop.file for stop in STOPS if stop.file and not (PACKAGE / stop.file).is_file()] == []


def test_a_box_of_each_stage_has_its_shape() -> None:
    shapes = [line for stop in STOPS for line in stop.lines]
    model = vitrail.create_model("vit_base_patch16_224")
    rows = vitrail.lens.shapes(model, depth=2, batch=2)
    sizes = {row.name: row.sizes for row in rows}
    assert [str(sizes[n]) for n in ("patch_embed", "embed", "attention", "head")] == [
        "(2, 196, 768)", "(2, 197, 768)", "(2, 12, 197, 197)", "(2, 1000)",
    ]  # fmt: skip
    assert {"(2, 196, 768)", "(2, 197, 768)", "(2, 12, 197, 197)", "(2, 1000)"} <= set(shapes)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_map_is_svg_with_every_title(language: str) -> None:
    svg = flow_map(language)
    texts = {element.text for element in ET.fromstring(svg).iter() if element.text}
    assert {stop.title.of(language) for stop in STOPS} <= texts
