"""Self-contained HTML pages: no script, font or image from elsewhere."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from vitrail.files import atomic_write

STYLE = """
:root { --ink: #1b2430; --quiet: #66707f; --paper: #fbfbfd; --card: #fff; --line: #e3e7ee;
  --glass: #1f5fa8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf1; --quiet: #97a1b1; --paper: #11151c;
  --card: #1a2029; --line: #2b3441; --glass: #7fb0ea; } .plot { background: #fff; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.55 system-ui, "Noto Sans", "PingFang SC", "Microsoft YaHei", sans-serif; }
header { border-top: 6px solid; border-image: linear-gradient(90deg, #1f5fa8 0 30%, #2f7d5b 30% 52%,
  #d9820f 52% 74%, #b23a48 74%) 1; padding: 26px 0 4px; }
main, header > div { max-width: 1120px; margin: 0 auto; padding: 0 22px; }
h1 { font-size: 27px; margin: 0 0 2px; letter-spacing: -.01em; }
h2 { font-size: 18px; margin: 40px 0 10px; }
p { margin: 6px 0 12px; max-width: 78ch; } .quiet { color: var(--quiet); }
.figures { display: flex; flex-wrap: wrap; gap: 12px; margin: 18px 0; }
.figure { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px 18px; min-width: 128px; }
.figure b { display: block; font-size: 23px; font-variant-numeric: tabular-nums; }
.figure span { color: var(--quiet); font-size: 13px; }
.plot { border: 1px solid var(--line); border-radius: 8px; padding: 8px; max-width: 100%; }
.plot svg, .plot img, .wide { width: 100%; height: auto; display: block; }
.narrow { max-width: 640px; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(118px, 1fr)); gap: 12px; }
.gallery figure { margin: 0; font-size: 12.5px; line-height: 1.35; }
.gallery img { width: 100%; image-rendering: pixelated; border-radius: 6px; display: block;
  margin-bottom: 4px; border: 1px solid var(--line); }
.wrong { color: #b23a48; } .dark { color: var(--quiet); overflow-wrap: anywhere; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
td, th { padding: 4px 14px 4px 0; text-align: left; border-bottom: 1px solid var(--line); }
.bar { display: inline-block; height: 9px; border-radius: 2px; background: var(--glass); }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px 14px; overflow-x: auto; font-size: 13px; line-height: 1.45; }
a { color: var(--glass); }
footer { margin: 44px 0 30px; color: var(--quiet); font-size: 13px; }
"""


def text(value: Any) -> str:
    """Escaped for HTML."""
    return html.escape(str(value))


def paragraph(words: str, quiet: bool = False) -> str:
    """A paragraph of plain text."""
    return f'<p class="quiet">{text(words)}</p>' if quiet else f"<p>{text(words)}</p>"


def section(title: str, *parts: str) -> str:
    """A heading and what stands under it."""
    return f"<h2>{text(title)}</h2>\n" + "\n".join(parts)


def figures(pairs: Sequence[tuple[str, str]]) -> str:
    """Headline figures: (value, what it is)."""
    cells = (f'<div class="figure"><b>{text(v)}</b><span>{text(k)}</span></div>' for v, k in pairs)
    return f'<div class="figures">{"".join(cells)}</div>'


def svg(figure: Figure, narrow: bool = False) -> str:
    """A matplotlib figure as inline SVG: crisp at any size."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawing = buffer.getvalue()
    return (
        f'<div class="plot{" narrow" if narrow else ""}">{drawing[drawing.index("<svg") :]}</div>'
    )


def picture(figure: Figure, dpi: int = 100) -> str:
    """A matplotlib figure of photographs as an inline image."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="webp", dpi=dpi, pil_kwargs={"quality": 85})
    return f'<img class="wide" alt="" src="{_inline(buffer.getvalue(), "webp")}">'


def thumbnail(pixels: Any) -> str:
    """uint8 (C, H, W) as the address of an inline PNG."""
    from PIL import Image

    array = pixels.permute(1, 2, 0).numpy()
    image = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    image.thumbnail((192, 192))
    buffer = io.BytesIO()
    image.save(buffer, format="png")
    return _inline(buffer.getvalue(), "png")


def write(path: Path, title: str, subtitle: str, body: Sequence[str]) -> Path:
    """Writes a page, whole or not at all."""
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head>\n<body>"
        f"<header><div><h1>{text(title)}</h1><p class=quiet>{text(subtitle)}</p></div></header>"
        f"<main>\n{chr(10).join(body)}\n<footer>Made by Vitrail.</footer></main></body></html>\n"
    )
    atomic_write(path, page)
    return path


def _inline(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
