"""Pixels with the same offset form a sequence."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": (
        "Unfold: same offset, same sequence",
        "4 x 4 pixels, patches of 2 x 2",
        "4 sequences of 4",
    ),
    "zh": ("展开：偏移相同的像素进入同一序列", "4 x 4 像素，块为 2 x 2", "4 个序列，每个长 4"),
}
COLORS = ("glass", "amber", "moss", "ruby")


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, pixels, sequences = WORDS[language]
    drawing = Drawing(title, 270)
    drawing.text(20, 28, title, "bold")
    counts = [0] * 4
    for pixel in range(16):
        row, column = divmod(pixel, 4)
        offset = 2 * (row % 2) + column % 2
        color = f"{COLORS[offset]} faint"
        gaps = 8 * (column // 2), 8 * (row // 2)
        drawing.box(30 + 42 * column + gaps[0], 52 + 42 * row + gaps[1], 38, 38, str(pixel), color)
        drawing.box(420 + 42 * counts[offset], 56 + 42 * offset, 38, 38, str(pixel), color)
        counts[offset] += 1
    drawing.arrow((230, 138), (400, 138))
    drawing.text(315, 126, "unfold", "code middle")
    drawing.text(116, 256, pixels, "quiet middle")
    drawing.text(502, 256, sequences, "quiet middle")
    return drawing.svg()
