"""The mask of three packed images."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Three images in a sequence of 8", "keys", "queries", "read", "masked"),
    "zh": ("长度为 8 的序列里有三张图", "key", "query", "可读", "屏蔽"),
}
IDS, SIDE = (0, 0, 0, 1, 1, 2, -1, -1), 26


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, keys, queries, read, masked = WORDS[language]
    drawing = Drawing(title, 310)
    drawing.text(20, 30, title, "bold")
    drawing.text(120, 62, keys, "quiet")
    drawing.text(20, 190, queries, "quiet")
    for row, own in enumerate(IDS):
        for column, other in enumerate(IDS):
            style = "glass faint" if own != other else "amber" if own >= 0 else "ruby faint"
            drawing.grid(120 + column * SIDE, 72 + row * SIDE, 1, 1, SIDE, style)
    for row, (style, name) in enumerate((("amber", read), ("glass faint", masked))):
        drawing.grid(400, 120 + row * 40, 1, 1, SIDE, style)
        drawing.text(436, 138 + row * 40, name)
    return drawing.svg()
