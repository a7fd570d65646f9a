"""A rectangle that reaches over the border, and the areas that count."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("CutMix near the border", "drawn: 25 % of the area", "pasted: 16 of 144 cells, 11 %",
           "own label 0.89, partner's 0.11"),
    "zh": ("靠近边缘时的 CutMix", "抽到：面积的 25 %", "贴上：144 格中的 16 格，11 %",
           "自己的标签 0.89，搭档 0.11"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, sampled_box, clipped_box, target = WORDS[language]
    drawing = Drawing(title, 300)
    drawing.text(20, 30, title, "bold")
    drawing.grid(60, 70, 12, 12, 17)
    drawing.grid(60 + 8 * 17, 70, 4, 4, 17, "amber")
    drawing.box(60 + 8 * 17, 70 - 2 * 17, 6 * 17, 6 * 17, "", "ruby faint")
    for row, (style, text) in enumerate((("ruby faint", sampled_box), ("amber", clipped_box))):
        drawing.box(340, 130 + row * 40, 24, 24, "", style)
        drawing.text(376, 148 + row * 40, text)
    drawing.text(340, 240, target, "code")
    return drawing.svg()
