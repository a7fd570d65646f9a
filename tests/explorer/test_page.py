"""The page in a headless browser: what it shows is what PyTorch computes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vitrail
from tests.explorer.browser import READY, needs_browser, press, same, settle, texts, wait
from tests.explorer.conftest import Client, picture
from vitrail.explorer.documents import Explorer
from vitrail.explorer.export import export_page
from vitrail.lens.explanations import explain
from vitrail.lens.heat import Scale, glow
from vitrail.lens.map_numbers import map_numbers
from vitrail.lens.trace import patch_maps

pytestmark = needs_browser


@pytest.fixture
def page(browser: Any, client: Client) -> Iterator[Any]:
    """The page of the tiny ViT. Afterwards its console must be silent."""
    browser.get(client.server.url)
    wait(browser, READY)
    settle(browser)
    yield browser
    assert browser.get_log("browser") == []


def weights_of(explorer: Explorer, photo: Path, layer: int) -> torch.Tensor:
    with torch.no_grad(), vitrail.record(explorer.model) as maps:
        explorer.model(explorer.model.preprocess(str(photo)))
    return maps[layer][0]


def test_maps_are_those_of_pytorch(page: Any, explorer: Explorer, photo: Path) -> None:
    grid = (4, 4)
    weights = weights_of(explorer, photo, 2)
    same(settle(page)["map"], patch_maps(weights, grid, 1, "class").mean(0))
    state = press(page, "#queries [data-query=mean]")
    same(state["map"], patch_maps(weights, grid, 1, "mean").mean(0))
    state = press(page, "#directions [data-incoming='1']")
    same(state["map"], patch_maps(weights, grid, 1, "mean", incoming=True).mean(0))
    state = press(page, "#heads button:nth-child(3)")  # the mean of heads, 0, 1
    assert state["head"] == 1
    same(state["map"], patch_maps(weights, grid, 1, "mean", incoming=True)[1])
    page.execute_script(
        "const l = document.getElementById('layer'); l.value = 0;"
        "l.dispatchEvent(new Event('input'))"
    )
    state = settle(page)
    first = weights_of(explorer, photo, 0)
    same(state["map"], patch_maps(first, grid, 1, "mean", incoming=True)[1])


def test_pointing_at_a_patch_shows_its_map_until_the_pointer_leaves(
    page: Any, explorer: Explorer, photo: Path
) -> None:
    weights = weights_of(explorer, photo, 2)
    from selenium.webdriver.common.action_chains import ActionChains

    plate = page.find_element("id", "picture")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", plate)
    side = plate.size["width"] / 4
    point = ActionChains(page).move_to_element_with_offset(plate, -side * 1.5, side * 0.5)
    point.perform()  # row 2, column 0
    expected = patch_maps(weights, (4, 4), 1, (2, 0)).mean(0)
    same(settle(page)["map"], expected)
    numbers = map_numbers(expected)
    text = page.find_element("id", "numbers").text
    assert f"{numbers.entropy:.2f}" in text
    assert f"{100 * numbers.top_share:.1f} %" in text
    assert "row 2, column 0" in page.find_element("id", "sentence").text
    title = page.find_element("id", "stage-title")
    ActionChains(page).move_to_element(title).perform()
    same(settle(page)["map"], patch_maps(weights, (4, 4), 1, "class").mean(0))


def test_the_keyboard_suffices(page: Any, explorer: Explorer, photo: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    weights = weights_of(explorer, photo, 2)
    for _tab in range(60):
        ActionChains(page).send_keys(Keys.TAB).perform()
        if page.switch_to.active_element.get_attribute("id") == "picture":
            break
    focus = page.switch_to.active_element
    assert focus.get_attribute("id") == "picture"
    outline = page.execute_script("return getComputedStyle(arguments[0]).outlineStyle", focus)
    assert outline != "none"
    focus.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_UP)  # from the middle, row 2, column 2
    state = settle(page)
    assert state["query"] == {"kind": "patch", "index": 7}
    same(state["map"], patch_maps(weights, (4, 4), 1, (1, 3)).mean(0))
    ActionChains(page).send_keys(Keys.TAB, Keys.ARROW_LEFT).perform()
    top = int(torch.tensor(state["map"]).argmax())
    assert settle(page)["read"] == (top - 1 if top % 4 else top)


def test_colors_are_those_of_heat_maps(page: Any) -> None:
    values = [-1.0, -0.7, -0.01, 0.0, 0.123, 0.5, 0.987, 1.0]
    colors = page.execute_script("return arguments[0].map(Vitrail.glow)", values)
    expected = torch.from_numpy(glow(torch.tensor(values).numpy())) * 255
    torch.testing.assert_close(torch.tensor(colors).double(), expected, rtol=0, atol=0.6)
    for low, high in ((0.0, 0.5), (-0.25, 0.5), (-0.5, 0.1)):
        weights = [low, 0.0, 0.08, high]
        script = "return arguments[0].map((weight) => Vitrail.fraction(weight, arguments[1]))"
        fractions = page.execute_script(script, weights, {"low": low, "high": high})
        assert fractions == pytest.approx(Scale(low, high).fraction(np.array(weights)).tolist())
    state = settle(page)
    script = """const c = document.querySelector('#map canvas');
    const d = c.getContext('2d').getImageData(0, 0, c.width / 4, c.height / 4).data;
    const sums = [0, 0, 0];
    for (let i = 0; i < d.length; i += 4) for (let k = 0; k < 3; k++) sums[k] += d[i + k];
    return sums.map(s => s / (d.length / 4));"""
    fraction = torch.tensor([state["map"][0] / max(state["map"])]).numpy()
    cell = torch.from_numpy(glow(fraction)[0]) * 255
    shown = torch.tensor(page.execute_script(script)).double()
    torch.testing.assert_close(shown, cell, rtol=0, atol=1.5)


def test_an_image_is_uploaded_and_a_bad_one_is_refused(
    page: Any, explorer: Explorer, tmp_path: Path
) -> None:
    chooser = page.find_element("id", "file")
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    chooser.send_keys(str(bad))
    settle(page)
    problem = page.find_element("id", "problem")
    assert "bad.png" in problem.text
    assert "\n" not in problem.text
    log = page.get_log("browser")  # the browser itself notes the status 400
    assert [entry["source"] for entry in log] == ["network"]
    chooser.send_keys(str(picture(tmp_path, "second.png")))
    wait(page, "return Vitrail.state.sample === null")
    settle(page)
    assert not problem.is_displayed()


def test_explanations_stand_side_by_side(page: Any, explorer: Explorer, photo: Path) -> None:
    press(page, "#methods [data-name=attention]")
    titles = texts(page, "#maps h3")
    assert len(titles) == 4
    page.execute_script(
        "const t = document.getElementById('target'); t.value = 2; "
        "t.dispatchEvent(new Event('change'))"
    )
    settle(page)
    script = """const done = arguments[0];
    Vitrail.load.explanation(Vitrail.state.trace.id, 'relevance', 2)
      .then(({array}) => done([...Vitrail.all(array)]));"""
    inputs = explorer.model.preprocess(str(photo))
    same(page.execute_async_script(script), explain(explorer.model, inputs, "relevance", 2)[0])
    titles = texts(page, "#maps h3")
    assert any("猫头鹰" in title for title in titles)


def test_it_speaks_chinese_and_fits_a_phone(page: Any) -> None:
    try:
        press(page, "#language")
        assert page.find_element("tag name", "h1").text == "模型看到了什么"
        assert page.execute_script("return document.documentElement.lang") == "zh-CN"
        script = "return [Object.keys(Vitrail.texts.en), Object.keys(Vitrail.texts.zh)].map(String)"
        english, chinese = page.execute_script(script)
        assert english == chinese
        page.set_window_size(500, 900)  # Chromium's windows are no narrower
        page.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True},
        )
        press(page, "#sheet-start")
        width = page.execute_script("return document.documentElement.scrollWidth")
        assert width == 360
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.set_window_size(1300, 1000)
        press(page, "#language")


def test_an_exported_page_opens_from_a_folder(
    browser: Any, explorer: Explorer, photo: Path, tmp_path: Path
) -> None:
    second = picture(tmp_path, "zweites Bild.png")
    path = export_page(explorer, tmp_path / "page", [photo, second])
    browser.get(path.as_uri())
    wait(browser, READY)
    state = settle(browser)
    same(state["map"], patch_maps(weights_of(explorer, photo, 2), (4, 4), 1, "class").mean(0))
    press(browser, "#shows [data-show=similarity]")
    press(browser, "#samples button:nth-child(2)")
    wait(browser, "return Vitrail.state.sample === 1")
    settle(browser)
    assert len(browser.find_elements("css selector", "#maps canvas")) == 3
    assert not browser.find_element("id", "drop").is_displayed()
    assert browser.find_element("id", "problem").text == ""
    assert browser.get_log("browser") == []
