"""Two runs that end in the same weights."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("The test of a checkpoint", "uninterrupted", "saved after step 4", "loaded",
           "the same bits"),
    "zh": ("checkpoint 的检验标准", "不中断", "第 4 步后保存", "加载后继续", "逐位相同"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, whole, saved, loaded, same = WORDS[language]
    drawing = Drawing(title, 240)
    drawing.text(20, 30, title, "bold")
    for column in range(10):
        x = 20 + column * 56
        drawing.box(x, 62, 46, 34, str(column + 1), "glass faint")
        style = "amber faint" if column < 4 else "moss faint"
        drawing.box(x + (24 if column > 3 else 0), 152, 46, 34, str(column + 1), style)
    drawing.text(20, 54, whole, "quiet")
    drawing.text(20, 210, saved, "quiet")
    drawing.text(268, 210, loaded, "quiet")
    drawing.arrow((236, 169), (264, 169))
    drawing.arrow((590, 80), (640, 110))
    drawing.arrow((606, 169), (640, 140))
    drawing.text(610, 130, same)
    return drawing.svg()
