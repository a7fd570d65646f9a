"""Chinese text is drawn with a font that has it; without one, a line says what cures it."""

import warnings
from pathlib import Path
from typing import Any

import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure

from vitrail.lens import fonts
from vitrail.lens.fonts import font_families
from vitrail.lens.html import inline_svg


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a list of families the fonts of this machine, and files those that a scan finds."""

    class Font:
        def __init__(self, name: str) -> None:
            self.name = name

    class Manager:
        def __init__(self) -> None:
            self.ttflist = [Font("DejaVu Sans")]

        def addfont(self, path: str) -> None:
            if "broken" in path:
                raise RuntimeError("Can not load face")
            self.ttflist.append(Font(Path(path).stem))

    def install(*families: str, files: tuple[str, ...] = ()) -> None:
        manager = Manager()
        manager.ttflist += map(Font, families)
        monkeypatch.setattr(font_manager, "fontManager", manager)
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda: list(files))
        monkeypatch.setattr(fonts, "_packaged_fonts", list)
        fonts._chinese_fonts.cache_clear()

    yield install
    fonts._chinese_fonts.cache_clear()


def test_the_best_font_comes_first(installed: Any) -> None:
    installed("WenQuanYi Micro Hei", "Noto Sans CJK SC", "Times")
    assert font_families("a cat", "一只猫") == [
        "DejaVu Sans", "Noto Sans CJK SC", "WenQuanYi Micro Hei",
    ]  # fmt: skip
    assert font_families("a cat, café, Δ") == ["DejaVu Sans"]


def test_a_font_installed_after_matplotlib_is_found(installed: Any) -> None:
    installed(files=("/fonts/broken.ttf", "/fonts/WenQuanYi Zen Hei.ttc"))
    assert font_families("猫") == ["DejaVu Sans", "WenQuanYi Zen Hei"]


def test_a_missing_font_is_said_with_its_cure(installed: Any) -> None:
    installed(files=("/fonts/broken.ttf",))
    cure = "sudo apt install fonts-wqy-microhei .*, or pip install mplfonts"
    with pytest.warns(UserWarning, match=cure):
        assert font_families("猫") == ["DejaVu Sans"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        font_families("a cat")


def test_chinese_is_drawn_where_there_is_a_font(tmp_path: Path) -> None:
    """On a machine with a Chinese font: no glyph is missing."""
    if not fonts._chinese_fonts():
        pytest.skip("no Chinese font on this machine")
    import numpy as np

    from vitrail.lens.figures import Panel, panel_figure

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        panel = Panel("第 0 层", np.zeros((4, 4, 3)))
        panel_figure([[panel]], title="一只猫").savefig(tmp_path / "a.png")


def test_an_emoji_in_a_title_brings_no_warning() -> None:
    figure = Figure(figsize=(1, 1))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        figure.suptitle("party 🌻", family=font_families("party"))
        figure.canvas.draw()
    assert [str(w.message) for w in seen if "Glyph" in str(w.message)] == []


def test_charts_of_chinese_pages_bring_no_warning() -> None:
    """The browser draws the text; matplotlib's own font has no such characters."""
    figure = Figure(figsize=(1, 1))
    figure.suptitle("准确率")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "准确率" in inline_svg(figure)
