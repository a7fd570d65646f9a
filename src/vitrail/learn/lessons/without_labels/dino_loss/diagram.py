"""Which crops go where, and which pairs count."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Pairs of crops that DINO compares", "student: all crops", "teacher: global crops",
           "the same crop is left out"),
    "zh": ("DINO 比较哪些裁剪", "学生：全部裁剪", "教师：全局裁剪", "相同的裁剪不比较"),
}  # fmt: skip
CROPS = ("G1", "G2", "L1", "L2", "L3", "L4")


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, student, teacher, same = WORDS[language]
    drawing = Drawing(title, 250)
    drawing.text(20, 30, title, "bold")
    drawing.text(260, 62, student, "quiet")
    drawing.text(20, 62, teacher, "quiet")
    for column, crop in enumerate(CROPS):
        side = 46 if crop.startswith("G") else 30
        drawing.box(262 + column * 70, 74 + (46 - side), 56, side, crop, "glass faint")
    for row, crop in enumerate(CROPS[:2]):
        top = 132 + row * 46
        drawing.box(140, top, 60, 38, crop, "amber faint")
        for column, other in enumerate(CROPS):
            style = "ruby faint" if crop == other else "moss faint"
            drawing.box(262 + column * 70, top, 56, 38, "−" if crop == other else "CE", style)
    drawing.text(262, 242, same, "quiet")
    return drawing.svg()
