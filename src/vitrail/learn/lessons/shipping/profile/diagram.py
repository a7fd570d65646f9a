"""Two hooks around a layer, and the clock."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Two hooks around a layer", "start = clock()", "seconds += clock() − start", "time"),
    "zh": ("一层前后的两个 hook", "start = clock()", "seconds += clock() − start", "时间"),
}


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, before, after, time = WORDS[language]
    drawing = Drawing(title, 220)
    drawing.text(20, 30, title, "bold")
    drawing.box(20, 80, 80, 40, "x")
    drawing.arrow((100, 100), (138, 100))
    drawing.box(140, 80, 130, 40, "pre_hook", "amber faint")
    drawing.arrow((270, 100), (308, 100))
    drawing.box(310, 80, 130, 40, "Linear", "glass faint")
    drawing.arrow((440, 100), (478, 100))
    drawing.box(480, 80, 130, 40, "hook", "amber faint")
    drawing.arrow((610, 100), (680, 100))
    drawing.text(140, 70, before, "code")
    drawing.text(440, 70, after, "code")
    drawing.arrow((20, 170), (690, 170))
    drawing.text(20, 196, time, "quiet")
    return drawing.svg()
