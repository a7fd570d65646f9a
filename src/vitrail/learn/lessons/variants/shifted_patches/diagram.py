"""An image and its four copies."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("An image and four copies, moved by half a patch", "15 channels",
           "one token of 5 x 192 numbers"),
    "zh": ("原图与四份移动半个块的图", "15 个通道", "一个 token：5 x 192 个数"),
}  # fmt: skip
MOVES = ((0, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, channels, token = WORDS[language]
    drawing = Drawing(title, 210)
    drawing.text(20, 28, title, "bold")
    for number, (right, down) in enumerate(MOVES):
        left = 30 + 110 * number
        drawing.box(left, 60, 84, 84, "")
        width, height = 84 - 14 * abs(right), 84 - 14 * abs(down)
        drawing.box(left + 14 * (right > 0), 60 + 14 * (down > 0), width, height, "", "glass faint")
        drawing.box(left + 28, 88, 28, 28, "", "amber")
    drawing.text(30, 176, channels, "quiet")
    drawing.text(330, 176, token, "quiet")
    return drawing.svg()
