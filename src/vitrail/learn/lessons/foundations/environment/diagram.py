"""Two generators from one seed, and one that goes on."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("One seed, three generators", "new generator", "new generator", "drawn from again"),
    "zh": ("同一个种子，三种用法", "新建 generator", "新建 generator", "继续抽取"),
}
DRAWS = (("0.50", "0.77", "0.09"), ("0.50", "0.77", "0.09"), ("0.13", "0.31", "0.63"))


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, *names = WORDS[language]
    drawing = Drawing(title, 230)
    drawing.text(20, 30, title, "bold")
    for row, (name, numbers) in enumerate(zip(names, DRAWS, strict=True)):
        top = 52 + row * 58
        drawing.box(20, top, 90, 40, "seed 0", "glass faint")
        drawing.arrow((110, top + 20), (170, top + 20))
        drawing.text(180, top + 25, name, "quiet")
        for column, number in enumerate(numbers):
            style = "ruby faint" if row == 2 else "amber faint"
            drawing.box(330 + column * 90, top, 80, 40, number, style)
    drawing.arrow((280, 144), (280, 180), (320, 180))
    return drawing.svg()
