"""A map of 2 channels and 2 x 2 positions, as the row of numbers in memory and as tokens."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("2 channels (a, b) of 2 x 2 positions", "map in memory", "tokens: right",
           "tokens by reshape alone: wrong"),
    "zh": ("2 个通道（a、b），2 x 2 个位置", "内存中的特征图", "token：正确",
           "只用 reshape 得到的 token：错误"),
}  # fmt: skip
ROWS = (
    ("a0", "a1", "a2", "a3", "b0", "b1", "b2", "b3"),
    ("a0", "b0", "a1", "b1", "a2", "b2", "a3", "b3"),
    ("a0", "a1", "a2", "a3", "b0", "b1", "b2", "b3"),
)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, *names = WORDS[language]
    drawing = Drawing(title, 270)
    drawing.text(20, 30, title, "bold")
    for row, (name, numbers) in enumerate(zip(names, ROWS, strict=True)):
        top = 66 + row * 70
        drawing.text(20, top - 8, name, "quiet")
        for column, number in enumerate(numbers):
            x = 20 + column * 68 + (column // 2 * 12 if row else column // 4 * 12)
            drawing.box(
                x, top, 60, 34, number, "glass faint" if number[0] == "a" else "amber faint"
            )
    return drawing.svg()
