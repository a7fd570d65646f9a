"""The walk, windows, two models, scans and sentences in a headless browser."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

import vitrail
from tests.explorer.browser import READY, needs_browser, press, same, settle, texts, wait
from tests.explorer.conftest import picture, serving, tiny_clip, tiny_vim, tiny_vit
from tests.models.small import small
from vitrail.explorer.arrays import decode_array
from vitrail.explorer.documents import Explorer
from vitrail.explorer.export import export_page
from vitrail.lens.position import explained_by_position, position_baseline
from vitrail.lens.trace import patch_maps, trace_attention

pytestmark = needs_browser

Opener = Callable[[Explorer], Any]
HOLD = "Vitrail.hold(arguments[0])"
LAYER = "Vitrail.setLayer(arguments[0])"


@pytest.fixture
def opened(browser: Any) -> Iterator[Opener]:
    """Opens the page of an explorer. Afterwards the console must be silent."""
    with ExitStack() as servers:

        def open_page(explorer: Explorer) -> Any:
            browser.get(servers.enter_context(serving(explorer)).url)
            wait(browser, READY)
            settle(browser)
            return browser

        yield open_page
        assert browser.get_log("browser") == []


def text_of(page: Any, name: str) -> str:
    return texts(page, f"#{name}")[0]


def table(page: Any, number: int) -> dict[str, list[str]]:
    """The rows of a table of numbers in the step that is shown."""
    script = """return [...document.querySelectorAll('#walk-step table')][arguments[0]]
      .querySelectorAll('tbody tr').values()
      .map(row => [...row.cells].map(cell => cell.textContent)).toArray()"""
    rows = page.execute_script(script, number)
    return {cells[0]: cells[1:] for cells in rows}


def test_the_walk_computes_with_the_models_numbers(opened: Opener, photo: Path) -> None:
    explorer = Explorer(tiny_vit(), "tiny", [photo])
    page = opened(explorer)
    page.execute_script(LAYER, 1)
    page.execute_script(HOLD, 6)
    settle(page)
    press(page, "#walk-start")
    walk = explorer.walk_document(explorer.sample(0)["id"], 1, 6)
    numbers = {name: decode_array(walk[name]) for name in ("weights", "logits", "embedded")}
    script = """const w = Vitrail.walk.doc; return {
      sum: Vitrail.dot(w.pixels.values, w.filter.values) + w.filter_bias,
      weights: [...w.weights.values], patch: w.patch, block: w.block,
      logit: Vitrail.dot(Vitrail.row(w.query, 0), Vitrail.row(w.keys, 0, 0)) * w.scale,
      head: Vitrail.dot(w.head.values, w.pooled.values) + w.head_bias}"""
    shown = page.execute_script(script)
    assert (shown["patch"], shown["block"]) == (6, 1)
    same(shown["weights"], numbers["weights"].float())
    assert shown["sum"] == pytest.approx(numbers["embedded"][0].item(), abs=1e-4)
    assert shown["logit"] == pytest.approx(numbers["logits"][0].max().item(), abs=1e-4)
    assert shown["head"] == pytest.approx(walk["classes"][0]["logit"], abs=1e-4)
    press(page, "#walk-steps button:nth-child(6)")  # softmax
    best = walk["top"][0][0]
    cells = next(iter(table(page, 0).values()))
    assert float(cells[0].replace("−", "-")) == pytest.approx(
        numbers["logits"][0, best].item(), abs=1e-3
    )
    assert float(cells[1]) == 1
    assert float(cells[2]) == pytest.approx(numbers["weights"][0, best].item(), abs=1e-3)
    maps = [numbers[name][0, 1:].float() for name in ("logits", "weights")]  # of patches
    script = "return arguments[0].map(ends => ends.map(Vitrail.number).join(''))"
    ends = [[maps[0].min().item(), maps[0].max().item()], [0, maps[1].max().item()]]
    assert texts(page, "#walk-step .small-map .ends") == page.execute_script(script, ends)


def test_the_walk_goes_on_by_keys_and_follows_patch_and_block(opened: Opener, photo: Path) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    page = opened(Explorer(tiny_vit(), "tiny", [photo]))
    start = page.find_element("id", "walk-start")
    start.send_keys(Keys.ENTER)
    wait(page, "return Boolean(Vitrail.walk.doc)")
    titles = [text_of(page, "walk-step-title")]
    page.find_element("id", "walk-next").send_keys(Keys.ENTER)
    for _step in range(9):
        titles.append(text_of(page, "walk-step-title"))
        ActionChains(page).send_keys(Keys.ARROW_RIGHT).perform()
    assert len(set(titles)) == 10
    assert titles[0].startswith("1. ") and titles[-1].startswith("10. ")
    page.find_element("id", "walk-picture").send_keys(Keys.ARROW_UP)  # from the middle, row 2
    wait(page, "return Vitrail.walk.doc.patch === 6")
    page.execute_script(LAYER, 0)
    wait(page, "return Vitrail.walk.doc.block === 0")
    press(page, "#language")
    assert text_of(page, "walk-step-title") == "10. 从特征到类别"
    press(page, "#language")
    page.find_element("id", "walk-picture").send_keys(Keys.ESCAPE)
    assert not page.find_element("id", "walk-body").is_displayed()
    assert page.switch_to.active_element.get_attribute("id") == "walk-start"


def test_windows_are_folded_back_on_the_page(opened: Opener, photo: Path) -> None:
    from tests.lens.test_layouts import matrix

    explorer = Explorer(small("Swin").eval(), "Swin", [photo])
    images = explorer.model.preprocess(str(photo))
    page = opened(explorer)
    with torch.no_grad(), vitrail.record(explorer.model) as maps:
        explorer.model(images)
    key, layout = list(explorer.layouts.items())[1]
    assert not isinstance(layout, str)
    between = matrix(layout, maps[key]).mean(0)  # (256, 256)
    page.execute_script(LAYER, 1)
    settle(page)
    page.execute_script(HOLD, 37)
    same(settle(page)["map"], between[37])
    assert "of 4.00 bits" in text_of(page, "numbers")  # 16 cells of a window
    same(press(page, "#directions [data-incoming='1']")["map"], between[:, 37])
    same(press(page, "#queries [data-query=mean]")["map"], between.mean(1))
    same(press(page, "#directions [data-incoming='']")["map"], between.mean(0))
    page.execute_script(HOLD, 255)
    page.execute_script(LAYER, 4)
    assert settle(page)["query"] == {"kind": "patch", "index": 15}  # the corner of 4 × 4


def test_keys_on_a_coarser_grid_are_drawn_there(opened: Opener, photo: Path) -> None:
    explorer = Explorer(small("PVT").eval(), "PVT", [photo])
    page = opened(explorer)
    with torch.no_grad(), vitrail.record(explorer.model) as maps:
        explorer.model(explorer.model.preprocess(str(photo)))
    page.execute_script(LAYER, 0)
    settle(page)
    page.execute_script(HOLD, 16 * 5 + 9)  # row 5, column 9 of 16 × 16: cell 1, 2 of 4 × 4
    weights = maps[0][0].mean(0)
    same(settle(page)["map"], weights[16 * 5 + 9])
    same(press(page, "#directions [data-incoming='1']")["map"], weights[:, 4 * 1 + 2])


def test_two_models_follow_one_pointer(opened: Opener, tmp_path: Path) -> None:
    photo = picture(tmp_path)
    second = Explorer(small("Swin").eval(), "runs/swin", [photo])
    explorer = Explorer(tiny_vit(), "runs/vit", [photo], second=second)
    page = opened(explorer)
    wait(page, "return Boolean(Vitrail.other.map)")
    page.execute_script(HOLD, 5)  # row 1, column 1 of 4 × 4
    first = settle(page)["map"]
    with torch.no_grad(), vitrail.record(explorer.model) as maps:
        explorer.model(explorer.model.preprocess(str(photo)))
    same(first, patch_maps(maps[2][0], (4, 4), 1, (1, 1)).mean(0))
    with torch.no_grad(), vitrail.record(second.model) as maps:
        logits = second.model(second.model.preprocess(str(photo)))
    other = page.execute_script("return [...Vitrail.other.map]")
    same(other, maps[-1][0, :, 5].mean(0))  # the last stage is one window of 4 × 4
    page.execute_script(LAYER, 0)  # of 3, and the second model has 5
    wait(page, "return Vitrail.other.attention.layer === 0")
    page.execute_script(LAYER, 1)
    wait(page, "return Vitrail.other.attention.layer === 2")
    shown = texts(page, "#second-predictions .answer span")[0]
    assert shown == f"{100 * logits.softmax(1).max():.1f} %"
    assert texts(page, "#second h3") == ["runs/swin"]
    page.find_element("id", "file").send_keys(str(picture(tmp_path, "second.png")))
    wait(page, "return Vitrail.state.file !== null && Vitrail.other.trace?.title === 'second.png'")
    settle(page)


def test_scans_and_the_position_only_baseline(opened: Opener, photo: Path) -> None:
    explorer = Explorer(tiny_vim(), "Vim", [photo])
    page = opened(explorer)
    images = explorer.model.preprocess(str(photo))
    page.execute_script(HOLD, 6)
    map_ = torch.tensor(settle(page)["map"])
    wait(page, "return Boolean(Vitrail.state.shuffled)")
    settle(page)
    trace = trace_attention(explorer.model, images, query=(1, 2))
    baseline = position_baseline(explorer.model, images, trace).attention[-1][0].mean(0)
    explained = explained_by_position(map_.view(4, 4), baseline.double())
    assert f"{100 * explained:.0f} %" in texts(page, "#shuffled figcaption")[0]
    left = decode_array(explorer.scan_document(explorer.sample(0)["id"], 1)["array"])
    order = [*range(1, 9), 0, *range(9, 17)]
    for direction, steps in ((0, order[order.index(7) :]), (1, order[order.index(7) :: -1])):
        press(page, f"#scan-directions button:nth-child({direction + 1})")
        halved = [n for n, token in enumerate(steps) if left[direction, 7, token] < 0.5]
        text = texts(page, "#scan-left figcaption")[0]
        assert (f"50 % after {halved[0]} steps" if halved else "never less than 50 %") in text
    assert len(page.find_elements("css selector", "#scan-way svg rect")) == 1  # the class token


def test_sentences_are_typed_live(opened: Opener, photo: Path) -> None:
    clip = tiny_clip()
    page = opened(Explorer(clip.backbone, "CLIP", [photo], clip=clip))
    for name in ("target", "answers"):
        assert not page.find_element("id", name).is_displayed()  # it has no classes
    field = page.find_element("id", "sentences")
    field.send_keys("a cat\na dog on a sofa")
    wait(page, "return document.querySelectorAll('#sentence-maps figure').length === 2")
    settle(page)
    assert texts(page, "#sentence-maps h3") == ["a cat", "a dog on a sofa"]
    images = clip.backbone.preprocess(str(photo))
    script = """const done = arguments[0];
    Vitrail.load.text(Vitrail.state.trace.id, 'a cat')
      .then(({array}) => done([...Vitrail.all(array)]))"""
    expected = vitrail.lens.text_similarity(clip, images, ["a cat"])[0, 0]
    same(page.execute_async_script(script), expected)


def test_everything_opens_from_a_folder(browser: Any, photo: Path, tmp_path: Path) -> None:
    explorer = Explorer(tiny_vim(), "Vim", second=Explorer(tiny_vit(), "ViT"))
    browser.get(export_page(explorer, tmp_path / "page", [photo]).as_uri())
    wait(browser, READY)
    wait(browser, "return Boolean(Vitrail.other.map && Vitrail.state.shuffled && Vitrail.scan.doc)")
    settle(browser)
    assert browser.find_element("id", "problem").text == ""
    explorer = Explorer(tiny_vit(), "ViT")
    browser.get(export_page(explorer, tmp_path / "other", [photo]).as_uri())
    wait(browser, READY)
    press(browser, "#walk-start")
    wait(browser, "return Boolean(Vitrail.walk.doc)")
    with torch.no_grad(), vitrail.record(explorer.model) as maps:
        explorer.model(explorer.model.preprocess(str(photo)))
    looked_at = int(maps[2][0, :, 0, 1:].mean(0).argmax())
    assert browser.execute_script("return Vitrail.walk.doc.patch") == looked_at
    assert browser.get_log("browser") == []
