"""An image of 2 x 3 patches, as a sequence, shuffled."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": (
        "Six patches, one sequence",
        "image",
        "sequence",
        "shuffled: without positions the same",
    ),
    "zh": ("六个图像块，一个序列", "图像", "序列", "打乱：没有位置编码就看不出区别"),
}
STYLES = ("glass", "amber", "moss", "ruby", "glass faint", "amber faint")


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, image, sequence, shuffled = WORDS[language]
    drawing = Drawing(title, 220)
    drawing.text(20, 30, title, "bold")
    drawing.text(20, 60, image, "quiet")
    for number in range(6):
        x, y = 20 + number % 3 * 44, 72 + number // 3 * 44
        drawing.box(x, y, 40, 40, str(number), STYLES[number])
    drawing.arrow((160, 114), (214, 114))
    drawing.text(230, 60, sequence, "quiet")
    drawing.text(230, 142, shuffled, "quiet")
    for column, (number, other) in enumerate(zip(range(6), (4, 0, 5, 2, 1, 3), strict=True)):
        x = 230 + column * 56
        drawing.box(x, 72, 40, 40, str(number), STYLES[number])
        drawing.box(x, 154, 40, 40, str(other), STYLES[other])
    return drawing.svg()
