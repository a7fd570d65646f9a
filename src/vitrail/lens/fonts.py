"""Fonts for the text of figures: one that has Chinese characters where there are any."""

import functools
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
