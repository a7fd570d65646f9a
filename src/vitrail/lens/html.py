"""Self-contained HTML pages: no script, font or image from elsewhere."""

import base64
import html
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from vitrail import __version__
from vitrail.files import atomic_write
from vitrail.lens.figures import Panel, columns_per_row
from vitrail.lens.heat import Scale
from vitrail.lens.theme import DARK, LIGHT, css_variables, with_variables
from vitrail.messages import _

THEMES = f"""
:root {{ {css_variables(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ color-scheme: dark; {css_variables(DARK)} }} }}
"""
STYLE = """
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, "Noto Sans", "PingFang SC", "Microsoft YaHei", sans-serif; }
header { border-top: 6px solid; padding: 26px 0 4px; border-image:
  linear-gradient(90deg, #1f5fa8 0 30%, #2a7554 30% 52%, #d9820f 52% 74%, #b23a48 74%) 1; }
main, header > div { max-width: 1160px; margin: 0 auto; padding: 0 22px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -.01em; }
h2 { font-size: 19px; margin: 46px 0 8px; } h3 { font-size: 15.5px; margin: 26px 0 8px; }
p { margin: 6px 0 12px; max-width: 80ch; } .quiet { color: var(--quiet); }
.note { border-left: 4px solid var(--amber); padding: 2px 0 2px 14px; }
a { color: var(--glass); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(134px, 1fr)); gap: 10px;
  margin: 18px 0; }
.figure { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 10px 16px 11px; max-width: 280px; }
.figure b { display: block; font-size: 22px; font-variant-numeric: tabular-nums;
  white-space: nowrap; } .figure:first-child b { color: var(--glass); }
.figure span { color: var(--quiet); font-size: 13px; line-height: 1.35; display: block;
  overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(300px, 100%), 1fr));
  gap: 10px; }
.plot { border: 1px solid var(--line); border-radius: 8px; padding: 10px; background: var(--card); }
.plot svg { width: 100%; height: auto; display: block; overflow: visible; }
.plot text { font-family: inherit; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(470px, 100%), 1fr));
  gap: 0 44px; align-items: start; } .columns > div { min-width: 0; }
.strip { display: grid; grid-template-columns: repeat(var(--across), minmax(0, 1fr)); gap: 8px;
  margin-bottom: 10px; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(118px, 1fr));
  gap: 14px 12px; }
.wide { grid-template-columns: repeat(auto-fill, minmax(min(360px, 100%), 1fr)); }
@media (max-width: 640px) { .strip { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
figure { margin: 0; font-size: 12.5px; line-height: 1.4; overflow-wrap: anywhere; }
figure img { width: 100%; display: block; border-radius: 4px; margin-bottom: 3px; }
img.small { image-rendering: pixelated; } .gallery img { border: 1px solid var(--line); }
.strip figcaption { color: var(--quiet); }
.scale { display: flex; justify-content: space-between; font-size: 11.5px; line-height: 1.5;
  color: var(--quiet); font-variant-numeric: tabular-nums; padding-top: 9px;
  background: var(--heat, HEAT) no-repeat 0 2px / 100% 6px; }
.signed { position: relative; } .signed b { position: absolute; top: 9px; font-weight: 400;
  transform: translateX(-50%); } .signed b::before { content: ""; position: absolute; left: 50%;
  top: -9px; height: 10px; border-left: 1.5px solid var(--ink); }
.numbers { color: var(--quiet); font-size: 11.5px; line-height: 1.4; display: block; }
.sheet { border-spacing: 3px; border-collapse: separate; font-size: 11.5px; }
.sheet th { font-weight: 400; color: var(--quiet); white-space: nowrap; text-align: left; }
.sheet tbody th { position: sticky; left: 0; background: var(--paper); padding-right: 6px; }
.sheet img { width: 76px; margin: 0; border-radius: 2px; display: block; }
.sheet td { color: var(--quiet); padding: 0; vertical-align: top; }
.wrong { color: var(--ruby); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
.list { width: 100%; } .list td { padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); }
.list th { font-weight: 400; color: var(--quiet); text-align: left; padding: 0 14px 4px 0; }
.list .number { text-align: right; white-space: nowrap; }
.list .name { overflow-wrap: anywhere; min-width: 9em; } .list .bars { width: 28%; }
.bar { display: block; width: 100%; min-width: 70px; height: 9px; border-radius: 2px;
  background: linear-gradient(90deg, var(--glass) var(--fraction), var(--line) var(--fraction)); }
.matrix { font-size: 12px; } .matrix td { min-width: var(--cell); height: var(--cell);
  text-align: center; padding: 0 2px; border: 1px solid var(--card);
  background: color-mix(in srgb, var(--tone, var(--line)) var(--fraction, 35%), var(--card)); }
.matrix th { font-weight: 400; text-align: right; padding: 0 8px 0 0; white-space: nowrap; }
.matrix thead th { writing-mode: vertical-rl; text-orientation: sideways;
  transform: rotate(180deg); text-align: left; padding: 8px 0 0; vertical-align: middle; }
@media (max-width: 640px) {
  .classes tr { display: grid; grid-template-columns: 1fr auto; gap: 0 10px; padding: 6px 0;
    border-bottom: 1px solid var(--line); align-items: center; }
  .classes tr:first-child { display: none; } .classes td { border: 0; padding: 0; }
  .classes .bars { width: auto; }
  .classes .name, .classes [data-title] { grid-column: 1 / -1; text-align: left; }
  .classes [data-title]:not(:empty)::before { content: attr(data-title) ": ";
    color: var(--quiet); }
}
.right { --tone: var(--glass); } .missed { --tone: var(--amber); } .deep { color: var(--card); }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px 14px; overflow-x: auto; font-size: 13px; line-height: 1.45; margin: 8px 0; }
footer { margin: 48px 0 30px; color: var(--quiet); font-size: 13px; }
"""
WIDE = 1160  # pixels of a page
ROOM = 0.3  # of a bar between its 0 and its ends, from which on all three numbers are legible


def escape(value: Any) -> str:
    """Text in which the characters that mean something in HTML are escaped.

    Args:
        value: anything, as `str` writes it.

    Returns:
        HTML.

    Example:
        >>> escape("a < b")
        'a &lt; b'
    """
    return html.escape(str(value))


def paragraph(text: str, style: str = "") -> str:
    """A paragraph of plain text.

    Args:
        text: plain text, which is escaped.
        style: "quiet" for grey, "note" for a marked one, "" for neither.

    Returns:
        HTML.

    Example:
        >>> paragraph("a < b", "quiet")
        '<p class="quiet">a &lt; b</p>'
    """
    return f'<p class="{style}">{escape(text)}</p>' if style else f"<p>{escape(text)}</p>"


def section(title: str, *parts: str, level: int = 2) -> str:
    """A heading and the parts below it.

    Args:
        title: plain text of the heading.
        parts: HTML below the heading.
        level: 1 for the largest heading.

    Returns:
        HTML.

    Example:
        >>> section("Curves", "<p>x</p>")
        '<h2>Curves</h2>\\n<p>x</p>'
    """
    return f"<h{level}>{escape(title)}</h{level}>\n" + "\n".join(parts)


def side_by_side(*parts: str) -> str:
    """Parts in columns, or one below the other on narrow screens.

    Args:
        parts: HTML of each column.

    Returns:
        HTML.

    Example:
        >>> side_by_side("a", "b")
        '<div class="columns"><div>a</div><div>b</div></div>'
    """
    return f'<div class="columns">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


def headline(figures: Sequence[tuple[str, str]]) -> str:
    """The most important numbers, large.

    Args:
        figures: (value, what it is) of each.

    Returns:
        HTML.

    Example:
        >>> "<b>98 %</b><span>accuracy</span>" in headline([("98 %", "accuracy")])
        True
    """
    cells = (
        f'<div class="figure"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
        for value, name in figures
    )
    return f'<div class="figures">{"".join(cells)}</div>'


def charts(figures: Sequence[Figure]) -> str:
    """Charts side by side.

    Args:
        figures: matplotlib figures in `LIGHT` colors.

    Returns:
        HTML.

    Example:
        >>> charts([Figure(figsize=(1, 1))]).count("<svg")
        1
    """
    return f'<div class="charts">{"".join(map(inline_svg, figures))}</div>'


def inline_svg(figure: Figure) -> str:
    """A matplotlib figure as inline SVG, which is crisp at any size and follows the theme.

    Args:
        figure: a figure in `LIGHT` colors.

    Returns:
        HTML.

    Example:
        >>> inline_svg(Figure(figsize=(1, 1))).startswith('<div class="plot"><svg')
        True
    """
    buffer = io.StringIO()
    with (
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "vitrail"}),
        warnings.catch_warnings(),
    ):
        # The browser writes the text, in fonts of its own.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawing = buffer.getvalue()
    return f'<div class="plot">{with_variables(drawing[drawing.index("<svg") :])}</div>'


def panel_row(panels: Sequence[Panel], minimum: int = 4) -> str:
    """Pictures with captions in rows of about equal length.

    Args:
        panels: the pictures, at least one.
        minimum: columns at least, so that a few pictures do not become huge. Wide pictures have
            lines of their own.

    Returns:
        HTML.

    Example:
        >>> panel_row([Panel("black", np.zeros((4, 4, 3)))]).count("<figcaption>black")
        1
    """
    wide = any(panel.pixels.shape[1] > 2 * panel.pixels.shape[0] for panel in panels)
    size = WIDE if wide else 448
    cells = (
        f"<figure>{image_tag(panel.pixels, panel.caption, size, scale=panel.scale)}"
        f"{color_bar(panel.scale) if panel.scale else ''}<figcaption>{escape(panel.caption)}"
        f"{''.join(map(_numbers, panel.numbers))}</figcaption></figure>"
        for panel in panels
    )
    across = 1 if wide else columns_per_row(len(panels), minimum)
    return f'<div class="strip" style="--across:{across}">{"".join(cells)}</div>'


def color_bar(scale: Scale) -> str:
    """The colors of a heat map with the numbers at their ends.

    Args:
        scale: of the heat map.

    Returns:
        HTML.

    Example:
        >>> color_bar(Scale(0.0, 0.25))
        '<div class="scale"><span>0</span><span>0.25</span></div>'
    """
    low, high = (f"<span>{end:.3g}</span>" for end in scale)
    if scale.zero is None:
        return f'<div class="scale">{low}{high}</div>'
    number = "0" if ROOM < scale.zero < 1 - ROOM else ""
    mark = f'<b style="left:{scale.zero:.1%}">{number}</b>'
    return f'<div class="scale signed" style="--heat:{_gradient(scale)}">{low}{mark}{high}</div>'


def _gradient(scale: Scale) -> str:
    """The colors of a scale, for CSS."""
    stops = (scale.bar(33) * 255).round().astype(int)
    return f"linear-gradient(90deg, {', '.join(f'rgb({r} {g} {b})' for r, g, b in stops)})"


def _numbers(line: str) -> str:
    return f'<span class="numbers">{escape(line)}</span>' if line else ""


def image_tag(pixels: Any, alt: str, max_size: int = 448, *, scale: Scale | None = None) -> str:
    """An image whose data is in the page.

    Images of at most 64 pixels are stored without loss and drawn with sharp pixels.

    Args:
        pixels: (H, W, 3) or (H, W), floats within 0..1 or uint8.
        alt: what the image shows, for those who cannot see it.
        max_size: pixels of the longer side; larger images are reduced.
        scale: of a heat map, whose colors are numbers and are stored closer to what they are; those
            around the 0 of a signed one are so alike that they are stored without loss.

    Returns:
        HTML.

    Example:
        >>> image_tag(np.zeros((4, 4, 3)), "black")[:39]
        '<img class="small" alt="black" src="dat'
    """
    from PIL import Image

    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8:
        pixels = (pixels * 255).round().astype(np.uint8)
    image = Image.fromarray(pixels)
    small = max(image.size) <= 64
    image.thumbnail((max_size, max_size))
    signed = scale is not None and scale.low < 0
    codes = [_webp(image, lossless=small or signed, quality=92 if scale else 82)]
    if not small and (scale or max(image.size) <= 256):  # enlarged pixels may be smaller so
        codes.append(_webp(image, lossless=True))
    data = base64.b64encode(min(codes, key=len)).decode()
    style = ' class="small"' if small else ""
    return f'<img{style} alt="{escape(alt)}" src="data:image/webp;base64,{data}">'


def write_page(path: Path, title: str, subtitle: str, body: Sequence[str]) -> Path:
    """Writes a page, so that the file is whole or not there.

    Args:
        path: the file to write.
        title: plain text.
        subtitle: plain text.
        body: HTML of the parts.

    Returns:
        The path.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_page(folder / "x.html", "Title", "Subtitle", []).name
        'x.html'
    """
    footer = _("Made by Vitrail {version}.").format(version=__version__)
    style = THEMES + STYLE.replace("HEAT", _gradient(Scale(0.0, 1.0)))
    page = (
        f'<!doctype html>\n<html lang="{_("en")}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n<body>"
        f'<header><div><h1>{escape(title)}</h1><p class="quiet">{escape(subtitle)}</p></div>'
        f"</header><main>\n{chr(10).join(body)}\n<footer>{escape(footer)}</footer></main>"
        "</body></html>\n"
    )
    atomic_write(path, page.encode(errors="backslashreplace"))  # names need not be UTF-8
    return path


def _webp(image: Any, lossless: bool, quality: int = 82) -> bytes:
    buffer = io.BytesIO()
    sharp = quality > 90  # colors of small cells do not run into each other
    image.save(buffer, format="webp", lossless=lossless, quality=quality, use_sharp_yuv=sharp)
    return buffer.getvalue()
