"""An image and its partner, 70 to 30."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Mixup with a share of 0.7", "image", "partner", "mixed", "target"),
    "zh": ("share = 0.7 时的 Mixup", "图像", "搭档", "混合", "目标"),
}
NUMBERS = (("1", "0", "0"), ("0", "0", "1"), ("0.7", "0", "0.3"))


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, image, partner, mixed, target = WORDS[language]
    drawing = Drawing(title, 230)
    drawing.text(20, 30, title, "bold")
    drawing.text(330, 30, target, "quiet")
    names = ((image, "× 0.7"), (partner, "× 0.3"), (mixed, ""))
    for row, ((name, weight), numbers) in enumerate(zip(names, NUMBERS, strict=True)):
        top = 46 + row * 58
        style = ("glass faint", "ruby faint", "amber faint")[row]
        drawing.box(20, top, 150, 40, name, style)
        drawing.text(186, top + 25, weight, "code")
        for column, number in enumerate(numbers):
            drawing.box(330 + column * 80, top, 70, 40, number, style if number != "0" else "card")
    return drawing.svg()
