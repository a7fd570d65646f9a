"""The bytes of a record."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("A record of CIFAR-10: 3,073 bytes", "label", "red", "green", "blue",
           "the first row of 32 pixels, then the next"),
    "zh": ("CIFAR-10 的一条记录：3,073 字节", "标签", "红", "绿", "蓝",
           "先是第一行 32 个像素，再是下一行"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, label, *colours, note = WORDS[language]
    drawing = Drawing(title, 250)
    drawing.text(20, 30, title, "bold")
    drawing.box(20, 60, 60, 44, "1", "amber faint")
    drawing.text(28, 124, label, "quiet")
    styles = ("ruby faint", "moss faint", "glass faint")
    for number, (colour, style) in enumerate(zip(colours, styles, strict=True)):
        drawing.box(90 + number * 200, 60, 190, 44, "1024", style)
        drawing.text(170 + number * 200, 124, colour, "quiet")
    drawing.grid(90, 150, 4, 20, 18, "ruby faint")
    drawing.text(90, 242, note, "quiet")
    return drawing.svg()
