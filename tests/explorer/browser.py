"""A headless browser for the tests of the page."""

import contextlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
import torch

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = [
    name
    for name, is_there in (
        ("chromium", BROWSER),
        ("chromium-driver", DRIVER),
        ("selenium", find_spec("selenium")),
    )
    if not is_there
]
READY = "return document.body.dataset.ready === 'true'"
STATE = """const s = Vitrail.state;
return {map: s.map && [...s.map], query: s.query, layer: s.layer, head: s.head, read: s.read};"""
AXE = """const done = arguments[0]; axe.run(document, {resultTypes: ["violations"]})
  .then(({violations}) => done(violations
    .filter(v => ["serious", "critical"].includes(v.impact))
    .map(v => `${v.id}: ${v.nodes.map(n => n.html.slice(0, 120)).join(" | ")}`)))"""
FRAMES = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))"
LOG = {"goog:loggingPrefs": {"browser": "ALL"}}
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--lang=en-US")


needs_browser = [
    pytest.mark.browser,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


@contextlib.contextmanager
def headless_browser() -> Iterator[Any]:
    """A headless Chromium that speaks English."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for option in OPTIONS:
        options.add_argument(option)
    for name, value in LOG.items():
        options.set_capability(name, value)
    os.environ.setdefault("SE_AVOID_STATS", "true")
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_window_size(1300, 1000)
    try:
        yield driver
    finally:
        driver.quit()


def wait(driver: Any, script: str) -> None:
    """Waits until a script returns true."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, 20, poll_frequency=0.03).until(lambda d: d.execute_script(script))


def settle(driver: Any) -> dict[str, Any]:
    """Waits until nothing loads, and what changed is drawn; returns the page's state."""
    wait(driver, "return document.getElementById('busy').hidden")
    driver.execute_async_script(FRAMES)
    return driver.execute_script(STATE)


def press(page: Any, selector: str) -> dict[str, Any]:
    """Clicks, and waits; returns the page's state."""
    page.execute_script("arguments[0].click()", page.find_element("css selector", selector))
    return settle(page)


def texts(page: Any, selector: str) -> list[str]:
    """What elements say, read at once: the page may draw them anew at any time."""
    script = "return [...document.querySelectorAll(arguments[0])].map(node => node.textContent)"
    return page.execute_script(script, selector)


def same(values: list[float], expected: torch.Tensor) -> None:
    """Numbers of the page equal PyTorch's."""
    torch.testing.assert_close(
        torch.tensor(values, dtype=torch.float32), expected.flatten(), rtol=0, atol=1e-4
    )


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, from npm."""
    folder = tmp_path_factory.mktemp("axe")
    command = [shutil.which("npm") or "npm", "pack", "--silent", "axe-core@4.14.1"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as problem:
        pytest.skip(f"npm does not give axe-core: {type(problem).__name__}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()
