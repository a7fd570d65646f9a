"""What a test of each kind notices."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("What notices which error", ("second norm", "x += ...", "std 1", "wrong scale"),
           ("shapes", "parameters", "output", "behaviour")),
    "zh": ("哪种检查能发现哪种错误", ("多一次归一化", "x += ……", "标准差为 1", "缩放错误"),
           ("形状", "参数", "输出", "行为")),
}  # fmt: skip
NOTICED = {(0, 1), (1, 3), (2, 3), (3, 2)}


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, errors, checks = WORDS[language]
    drawing = Drawing(title, 230)
    drawing.text(20, 28, title, "bold")
    for column, check in enumerate(checks):
        drawing.text(240 + column * 120, 60, check, "middle")
    for row, error in enumerate(errors):
        drawing.text(20, 92 + row * 38, error)
        for column in range(len(checks)):
            style = "moss" if (row, column) in NOTICED else "ruby faint"
            drawing.box(190 + column * 120, 72 + row * 38, 100, 28, "", style)
    return drawing.svg()
