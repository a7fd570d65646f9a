"""Self-contained HTML pages: no script, font or image from elsewhere."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from vitrail import __version__
from vitrail.files import atomic_write
from vitrail.lens.theme import DARK, LIGHT, themed, variables
from vitrail.lens.plots import Panel, columns

THEMES = f"""
:root {{ {variables(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ :root {{ color-scheme: dark; {variables(DARK)} }} }}
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
.figure span { color: var(--quiet); font-size: 13px; line-height: 1.35; display: block; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(300px, 100%), 1fr));
  gap: 10px; }
.plot { border: 1px solid var(--line); border-radius: 8px; padding: 10px; background: var(--card); }
.plot svg { width: 100%; height: auto; display: block; } .plot text { font-family: inherit; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(470px, 100%), 1fr));
  gap: 0 44px; align-items: start; }
.strip { display: grid; grid-template-columns: repeat(var(--across), minmax(0, 1fr)); gap: 8px;
  margin-bottom: 10px; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(118px, 1fr));
  gap: 14px 12px; }
@media (max-width: 640px) { .strip { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
figure { margin: 0; font-size: 12.5px; line-height: 1.4; overflow-wrap: anywhere; }
figure img { width: 100%; display: block; border-radius: 4px; margin-bottom: 3px; }
img.small { image-rendering: pixelated; } .gallery img { border: 1px solid var(--line); }
.strip figcaption { color: var(--quiet); }
.wrong { color: var(--ruby); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
.list { width: 100%; } .list td { padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); }
.list th { font-weight: 400; color: var(--quiet); text-align: left; padding: 0 14px 4px 0; }
.list .number { text-align: right; white-space: nowrap; }
.bar { display: block; width: 100%; min-width: 70px; height: 9px; border-radius: 2px;
  background: linear-gradient(90deg, var(--glass) var(--part), var(--line) var(--part)); }
.matrix { font-size: 12px; } .matrix td { min-width: var(--cell); height: var(--cell);
  text-align: center; padding: 0 2px; border: 1px solid var(--card);
  background: color-mix(in srgb, var(--tone, var(--line)) var(--part, 35%), var(--card)); }
.matrix th { font-weight: 400; text-align: right; padding: 0 8px 0 0; white-space: nowrap; }
.matrix thead th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left;
  padding: 8px 0 0; vertical-align: middle; }
.right { --tone: var(--glass); } .missed { --tone: var(--amber); } .deep { color: var(--card); }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px 14px; overflow-x: auto; font-size: 13px; line-height: 1.45; margin: 8px 0; }
footer { margin: 48px 0 30px; color: var(--quiet); font-size: 13px; }
"""


def text(value: Any) -> str:
    """Escaped for HTML."""
    return html.escape(str(value))


def paragraph(words: str, kind: str = "") -> str:
    """A paragraph of plain text; kind: "quiet" or "note"."""
    return f'<p class="{kind}">{text(words)}</p>' if kind else f"<p>{text(words)}</p>"


def section(title: str, *parts: str, level: int = 2) -> str:
    """A heading and what stands under it."""
    return f"<h{level}>{text(title)}</h{level}>\n" + "\n".join(parts)


def sides(*parts: str) -> str:
    """Parts side by side, or under each other on narrow screens."""
    return f'<div class="sides">{"".join(f"<div>{part}</div>" for part in parts)}</div>'


def figures(pairs: Sequence[tuple[str, str]]) -> str:
    """Headline figures: (value, what it is)."""
    cells = (f'<div class="figure"><b>{text(v)}</b><span>{text(k)}</span></div>' for v, k in pairs)
    return f'<div class="figures">{"".join(cells)}</div>'


def charts(drawn: Sequence[Figure]) -> str:
    """Charts side by side."""
    return f'<div class="charts">{"".join(map(svg, drawn))}</div>'


def svg(figure: Figure) -> str:
    """A matplotlib figure in `LIGHT` colours as inline SVG: crisp at any size, in both themes."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "vitrail"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawing = buffer.getvalue()
    return f'<div class="plot">{themed(drawing[drawing.index("<svg") :])}</div>'


def strip(panels: Sequence[Panel], least: int = 4) -> str:
    """Pictures with captions side by side, in even rows; `least` keeps a few from growing huge."""
    cells = (
        f"<figure>{picture(panel.pixels, panel.caption)}"
        f"<figcaption>{text(panel.caption)}</figcaption></figure>"
        for panel in panels
    )
    across = columns(len(panels), least)
    return f'<div class="strip" style="--across:{across}">{"".join(cells)}</div>'


def picture(pixels: Any, words: str, most: int = 448) -> str:
    """(H, W, 3) or (H, W) within 0..1, or uint8, as an inline image; small ones keep their pixels.

    words: what it shows, for those who cannot see it.
    """
    from PIL import Image

    pixels = np.asarray(pixels)
    if pixels.dtype != np.uint8:
        pixels = (pixels * 255).round().astype(np.uint8)
    image = Image.fromarray(pixels)
    small = max(image.size) <= 64
    image.thumbnail((most, most))
    codes = [_webp(image, lossless=small)]
    if not small and max(image.size) <= 256:  # enlarged pixels are often smaller when exact
        codes.append(_webp(image, lossless=True))
    data = base64.b64encode(min(codes, key=len)).decode()
    kind = ' class="small"' if small else ""
    return f'<img{kind} alt="{text(words)}" src="data:image/webp;base64,{data}">'


def write(path: Path, title: str, subtitle: str, body: Sequence[str]) -> Path:
    """Writes a page, whole or not at all."""
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{THEMES}{STYLE}</style></head>\n<body>"
        f'<header><div><h1>{text(title)}</h1><p class="quiet">{text(subtitle)}</p></div></header>'
        f"<main>\n{chr(10).join(body)}\n<footer>Made by Vitrail {__version__}.</footer></main>"
        "</body></html>\n"
    )
    atomic_write(path, page)
    return path


def _webp(image: Any, lossless: bool) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="webp", lossless=lossless, quality=82)
    return buffer.getvalue()
