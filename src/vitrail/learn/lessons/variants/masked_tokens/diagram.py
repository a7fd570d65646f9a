"""Masked patches keep their positions."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Hidden, but still in the sequence", "patches", "with mask tokens", "codes to predict"),
    "zh": ("被遮住，但仍在序列里", "图像块", "换上 mask token", "要预测的码"),
}
MASKED = (1, 2, 5)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, patches, tokens, codes = WORDS[language]
    drawing = Drawing(title, 250)
    drawing.text(20, 28, title, "bold")
    for position in range(7):
        left = 30 + 66 * position
        hidden = position in MASKED
        drawing.box(left, 54, 58, 36, f"x{position}", "glass faint")
        drawing.box(left, 118, 58, 36, "[M]" if hidden else f"x{position}",
                    "amber faint" if hidden else "glass faint")  # fmt: skip
        drawing.arrow((left + 29, 90), (left + 29, 114))
        if hidden:
            drawing.arrow((left + 29, 154), (left + 29, 194))
            drawing.box(left, 198, 58, 36, f"c{position}", "moss faint")
    for top, text in ((77, patches), (141, tokens), (221, codes)):
        drawing.text(510, top, text, "quiet")
    return drawing.svg()
