"""What the page promises everyone: quick, light, usable by all; and a model that runs in it."""

import functools
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import vitrail
from tests.explorer.browser import AXE, READY, needs_browser, press, same, settle, wait
from tests.explorer.conftest import picture, serving, tiny_clip, tiny_vim, tiny_vit
from vitrail.errors import ConfigError
from vitrail.explorer.documents import Explorer
from vitrail.explorer.export import export_page
from vitrail.explorer.resources import page_files
from vitrail.explorer.runtime import copy_runtime
from vitrail.hub.bundled import bundled_models
from vitrail.lens.explanations.similarity import patch_directions
from vitrail.lens.trace import patch_maps

pytestmark = needs_browser
DRAW = """const times = [];
for (let i = 0; i < 30; i++) {
  Vitrail.state.hover = i * 26;
  const start = performance.now();
  Vitrail.emit('draw');
  times.push(performance.now() - start);
}
return times.sort((a, b) => a - b);"""
PIXELS = """const done = arguments[0], image = new Image();
image.onload = () => {
  const canvas = document.createElement('canvas');
  Object.assign(canvas, {width: image.width, height: image.height});
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  done([...context.getImageData(0, 0, image.width, image.height).data]);
};
image.src = Vitrail.state.trace.picture;"""


@pytest.mark.parametrize("kind", ["ViT", "Vim", "CLIP"])
def test_axe_finds_no_serious_fault(browser: Any, photo: Path, axe: str, kind: str) -> None:
    """Every view, in both themes."""
    clip = tiny_clip()
    explorers = {
        "ViT": lambda: Explorer(
            tiny_vit(), "ViT", [photo], second=Explorer(tiny_vim(), "Vim", [photo])
        ),
        "Vim": lambda: Explorer(tiny_vim(), "Vim", [photo]),
        "CLIP": lambda: Explorer(clip.backbone, "CLIP", [photo], clip=clip),
    }
    with serving(explorers[kind]()) as server:
        browser.get(server.url)
        wait(browser, READY)
        press(browser, "#sheet-start")
        wait(browser, "return [...document.querySelectorAll('.tile')].every(tile => tile.title)")
        if kind == "ViT":
            press(browser, "#walk-start")
            wait(browser, "return Boolean(Vitrail.walk.doc)")
            press(browser, "#walk-steps button:nth-child(7)")
        if kind == "CLIP":
            browser.find_element("id", "sentences").send_keys("a cat")
            wait(browser, "return document.querySelectorAll('#sentence-maps figure').length === 1")
        settle(browser)
        browser.execute_script(axe)
        for _theme in range(2):
            assert browser.execute_async_script(AXE) == []
            press(browser, "#theme")


def test_the_first_view_is_light_and_quick(browser: Any, explorer: Explorer) -> None:
    """What is loaded before a model answers: at most 600 KB, in 1.5 s."""
    scripts = sum(len(data) for name, data in page_files().items() if name != "trace.schema.json")
    assert scripts < 600_000
    with serving(explorer) as server:
        browser.get(server.url)
        wait(browser, READY)
        script = "return performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
        assert browser.execute_script(script) < 1500


def test_a_hover_is_drawn_within_50_ms_at_28_by_28(browser: Any, tmp_path: Path) -> None:
    """With as many heads as the ViT-S/14 has; the median of 30 patches."""
    torch.manual_seed(0)
    model = vitrail.ViT(392, 14, num_classes=3, dim=48, depth=2, heads=6, mlp_dim=48).eval()
    with serving(Explorer(model, "28 x 28", [picture(tmp_path)])) as server:
        browser.get(server.url)
        wait(browser, READY)
        settle(browser)
        times = browser.execute_script(DRAW)
        assert times[15] < 50
        assert browser.get_log("browser") == []


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of onnxruntime-web."""
    folder = tmp_path_factory.mktemp("runtime")
    try:
        copy_runtime(folder)
    except ConfigError as problem:
        pytest.skip(str(problem))
    return folder


@pytest.fixture
def static_server(tmp_path: Path) -> Iterator[str]:
    """Any static server: Python's own, over the folder of the test."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing."""

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", bundled_models())
def test_the_browsers_own_model_gives_pytorchs_numbers(
    browser: Any, tmp_path: Path, runtime: Path, static_server: str, name: str
) -> None:
    """Of the models that come with Vitrail for this, with a head, so that there are classes."""
    photo, other = picture(tmp_path), picture(tmp_path, "other.png")
    model = vitrail.load(name, num_classes=3)
    export_page(Explorer(model, name), tmp_path / "page", [photo], live=True, runtime=runtime)
    browser.get(f"{static_server}page/index.html")
    wait(browser, READY)
    press(browser, "#live-start")
    wait(browser, "return !document.getElementById('drop').hidden")
    browser.find_element("id", "file").send_keys(str(other))
    wait(browser, "return Vitrail.state.trace.live === true")
    state = settle(browser)
    script = "return Vitrail.state.trace.predictions.map(row => [row.index, row.value])"
    shown = dict(browser.execute_script(script))
    size = model.image_size[0]
    data = torch.tensor(browser.execute_async_script(PIXELS)).view(size, size, 4)[..., :3]
    crop = model.preprocess.crop(str(other))
    assert torch.equal(data.permute(2, 0, 1), crop.to(data.dtype))
    images = model.preprocess.normalise(data.permute(2, 0, 1)[None].to(torch.uint8))
    with torch.no_grad(), vitrail.record(model) as maps:
        probabilities = model(images).softmax(1)[0]
    same(list(shown.values()), probabilities[list(shown)])
    lens = torch.tensor(browser.execute_script("return Vitrail.state.trace.lens.values"))
    classes = browser.execute_script("return Vitrail.state.trace.lens.classes")
    expected = vitrail.lens.logit_lens(model, images)[:, 0].softmax(1)[:, classes]
    same(lens.flatten().tolist(), expected)
    if name == "small-vit":
        same(state["map"], patch_maps(maps[-1][0], (14, 14), 1, "class").mean(0))
        press(browser, "#shows [data-show=similarity]")
    patches = patch_directions(model.features(images).patches.detach())[0]
    index = browser.execute_script("return Vitrail.query().index")
    same(settle(browser)["map"], (patches @ patches.T)[index])
    assert browser.find_element("id", "problem").text == ""
    assert browser.get_log("browser") == []


def test_a_live_page_opens_from_a_folder_too(
    browser: Any, photo: Path, tmp_path: Path, runtime: Path
) -> None:
    """Without a server the model cannot run, and the page says how it can."""
    page = export_page(Explorer(tiny_vit(), "ViT"), tmp_path / "page", [photo], live=True,
                       runtime=runtime)  # fmt: skip
    browser.get(page.as_uri())
    wait(browser, READY)
    settle(browser)
    assert not browser.find_element("id", "live-start").is_displayed()
    assert "http.server" in browser.find_element("id", "live-about").text
    assert browser.get_log("browser") == []
