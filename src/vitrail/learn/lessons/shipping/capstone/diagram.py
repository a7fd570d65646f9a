"""An accuracy, its interval and the baseline."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Above the baseline, or luck?", "baseline", "10 images", "100 images", "accuracy 0.8"),
    "zh": ("超过基线，还是运气？", "基线", "10 张图", "100 张图", "准确率 0.8"),
}


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, baseline, few, many, accuracy = WORDS[language]
    drawing = Drawing(title, 220)
    drawing.text(20, 30, title, "bold")

    def x(rate: float) -> float:
        return 140 + 520 * rate

    drawing.arrow((x(0), 190), (x(1) + 20, 190))
    drawing.box(x(0.6) - 1, 60, 3, 130, style="ruby")
    drawing.text(x(0.6) - 70, 56, f"{baseline} 0.6", "quiet")
    drawing.text(x(0.8) - 40, 56, accuracy, "quiet")
    for top, label, low, high in ((84, few, 0.49, 0.943), (134, many, 0.711, 0.867)):
        drawing.text(20, top + 18, label)
        style = "glass faint" if low < 0.6 else "moss faint"
        drawing.box(x(low), top, x(high) - x(low), 26, style=style)
        drawing.box(x(0.8) - 2, top, 4, 26, style="amber")
    return drawing.svg()
