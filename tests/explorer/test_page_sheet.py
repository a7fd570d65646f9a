"""The sheet of all layers and heads in a headless browser."""

from pathlib import Path
from typing import Any

import pytest
import torch

import vitrail
from tests.explorer.browser import READY, needs_browser, press, same, settle, texts, wait
from tests.explorer.conftest import serving, tiny_vit
from tests.models.small import small
from vitrail.explorer.documents import Explorer
from vitrail.lens.trace import patch_maps

pytestmark = needs_browser
DRAWN = "return [...document.querySelectorAll('.tile')].every(tile => tile.title)"
TILES = """return [...document.querySelectorAll('.sheet-row')].map(row =>
  [...row.querySelectorAll('.tile')].map(tile => tile.title))"""
FOCUS = "return document.activeElement.title"


def highest(title: str) -> float:
    return float(title.rpartition(" ")[2])


def test_every_head_of_every_layer_is_shown_and_opens(browser: Any, photo: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    explorer = Explorer(tiny_vit(), "tiny", [photo])
    with torch.no_grad(), vitrail.record(explorer.model) as maps:
        explorer.model(explorer.model.preprocess(str(photo)))
    with serving(explorer) as server:
        browser.get(server.url)
        wait(browser, READY)
        press(browser, "#sheet-start")
        wait(browser, DRAWN)
        titles = browser.execute_script(TILES)
        assert [len(row) for row in titles] == [3, 3, 3]  # the mean, and two heads
        for layer, row in enumerate(titles):
            expected = patch_maps(maps[layer][0], (4, 4), 1, "class")
            values = [expected.mean(0).max(), *expected.amax((1, 2))]
            assert [highest(each) for each in row] == pytest.approx(
                [float(v) for v in values], rel=0.01
            )
        browser.execute_script("Vitrail.hold(6)")
        wait(browser, f"return document.querySelector('.tile').title !== {titles[0][0]!r}")
        settle(browser)
        press(browser, ".sheet-row:nth-child(2) .tile:nth-of-type(3)")
        wait(browser, "return Vitrail.state.attention?.layer === 1")
        state = settle(browser)
        assert (state["layer"], state["head"]) == (1, 1)
        same(state["map"], patch_maps(maps[1][0], (4, 4), 1, (1, 2))[1])
        assert len(browser.find_elements("css selector", ".tile[aria-pressed=true]")) == 1
        tile = browser.find_element("css selector", ".tile[tabindex='0']")
        tile.send_keys(Keys.ARROW_UP, Keys.ARROW_LEFT)
        assert browser.execute_script(FOCUS).startswith("layer 0, head 0")
        browser.switch_to.active_element.send_keys(Keys.ENTER)
        wait(browser, "return Vitrail.state.layer === 0 && Vitrail.state.head === 0")
        settle(browser)
        assert browser.get_log("browser") == []


def test_layers_of_other_grids_and_numbers_of_heads_are_on_the_sheet(
    browser: Any, photo: Path
) -> None:
    explorer = Explorer(small("Swin").eval(), "Swin", [photo])
    with serving(explorer) as server:
        browser.get(server.url)
        wait(browser, READY)
        press(browser, "#sheet-start")
        wait(browser, DRAWN)
        heads = [row["heads"] for row in explorer.layers]
        assert texts(browser, "#sheet-head span") == ["avg", *map(str, range(max(heads)))]
        shown = [len(row) for row in browser.execute_script(TILES)]
        assert shown == [count + (count > 1) for count in heads]
        assert browser.get_log("browser") == []
