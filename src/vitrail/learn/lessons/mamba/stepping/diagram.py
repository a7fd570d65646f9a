"""What is kept between two tokens."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("One step with a cache", "window: K - 1 = 3 signals", "new signal", "scan's state",
           "new state", "output"),
    "zh": ("带缓存的一步", "窗口：K − 1 = 3 个信号", "新信号", "扫描的状态", "新状态", "输出"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, window, new, state, after, output = WORDS[language]
    drawing = Drawing(title, 250)
    drawing.text(20, 30, title, "bold")
    drawing.text(20, 62, window, "quiet")
    for column, name in enumerate(("x3", "x4", "x5", "x6")):
        drawing.box(
            20 + column * 64, 72, 56, 38, name, "amber faint" if column == 3 else "glass faint"
        )
    drawing.text(206, 62, new, "quiet")
    drawing.arrow((276, 91), (316, 91))
    drawing.box(320, 72, 130, 38, "conv, SiLU")
    drawing.arrow((385, 110), (385, 160))
    drawing.text(20, 154, state, "quiet")
    drawing.box(20, 164, 160, 38, "h6", "glass faint")
    drawing.arrow((180, 183), (286, 183))
    drawing.box(290, 164, 190, 38, "exp(Δ A) h + Δ B u")
    drawing.arrow((480, 183), (516, 183))
    drawing.box(520, 164, 80, 38, "h7", "amber faint")
    drawing.text(520, 154, after, "quiet")
    drawing.arrow((600, 183), (632, 183))
    drawing.text(606, 174, "C", "code")
    drawing.text(640, 188, output)
    return drawing.svg()
