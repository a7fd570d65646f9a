"""The text of figures: fonts that have Chinese characters where there are any, and lines."""

import functools
import logging
import re
import unicodedata
import warnings
from pathlib import Path

from matplotlib import font_manager

CHINESE = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Source Han Sans SC",
    "Source Han Sans CN", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback",
    "AR PL UMing CN", "AR PL UKai CN", "PingFang SC", "Hiragino Sans GB", "Heiti SC",
    "Microsoft YaHei", "SimHei", "SimSun", "Arial Unicode MS",
)  # fmt: skip
FIRST_HAN, LAST_HAN = "⺀", "\U0003ffff"  # from CJK radicals on


def font_families(*texts: str) -> list[str]:
    """The fonts that texts of a figure are drawn with.

    A warning says if there are Chinese characters and this machine has no font for them.

    Args:
        *texts: texts of the figure.

    Returns:
        Names of fonts for matplotlib, which takes each character from the first that has it.

    Example:
        >>> font_families("a cat")
        ['DejaVu Sans']
    """
    # An emoji in the name of a file is drawn as a box, and fonts without bold letters are thin.
    warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    families = ["DejaVu Sans"]
    if any(FIRST_HAN <= character <= LAST_HAN for text in texts for character in text):
        families += _chinese_fonts()
        if len(families) == 1:
            warnings.warn(
                "no font of this machine has Chinese characters, which are drawn as boxes: "
                "sudo apt install fonts-wqy-microhei (Debian, Ubuntu), or pip install mplfonts.",
                stacklevel=3,
            )
    return families


def text_width(text: str) -> int:
    """The width of a text in Latin letters; those of Chinese and Japanese are twice as wide.

    Args:
        text: the text.

    Returns:
        Its width.

    Example:
        >>> text_width("a 猫")
        4
    """
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def wrap_text(text: str, width: int) -> list[str]:
    """The lines of a text, broken between words and anywhere in Chinese, which has no spaces.

    Args:
        text: the text.
        width: Latin letters of a line, at most; a longer word has a line of its own.

    Returns:
        The lines; none for an empty text.

    Example:
        >>> wrap_text("an owl, 一只猫", 10)
        ['an owl, 一', '只猫']
    """
    lines: list[str] = []
    for part in re.findall(
        rf"[{FIRST_HAN}-{LAST_HAN}][，。、；：）”]*|[^\s{FIRST_HAN}-{LAST_HAN}]+|\s+", text
    ):
        if lines and text_width(lines[-1] + part.rstrip()) <= width:
            lines[-1] += part
        elif not part.isspace():
            lines.append(part)
    return [line.rstrip() for line in lines]


@functools.cache
def _chinese_fonts() -> tuple[str, ...]:
    """The fonts with Chinese characters that are installed, the best first."""
    families = {font.name for font in font_manager.fontManager.ttflist}
    if not families & set(CHINESE):  # matplotlib remembers the fonts of its first start
        for path in [*font_manager.findSystemFonts(), *_packaged_fonts()]:
            try:
                font_manager.fontManager.addfont(path)
            except (OSError, RuntimeError):  # a bitmap font, or a damaged one
                continue
        families = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(name for name in CHINESE if name in families)


def _packaged_fonts() -> list[str]:
    """The fonts that the package mplfonts holds; none where it is not installed."""
    import importlib.util

    spec = importlib.util.find_spec("mplfonts")
    if spec is None or spec.origin is None:
        return []
    return [str(path) for path in Path(spec.origin).parent.glob("fonts/*.[ot]t[fc]")]
