"""Windows of a signal that overlap."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Patches of 4 samples, stride 2", "signal, L = 12", "N = (12 − 4) // 2 + 1 = 5"),
    "zh": ("每块 4 个采样点，步长 2", "信号，L = 12", "N = (12 − 4) // 2 + 1 = 5"),
}


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, signal, count = WORDS[language]
    drawing = Drawing(title, 290)
    drawing.text(20, 30, title, "bold")
    drawing.text(20, 66, signal, "quiet")
    drawing.grid(170, 48, 1, 12, 36)
    for number in range(5):
        x, y = 170 + 72 * number, 100 + 32 * number
        drawing.grid(x, y, 1, 4, 36, "amber" if number % 2 else "glass")
        drawing.text(100, y + 22, f"patch {number}", "code")
    drawing.text(170, 276, count, "code")
    return drawing.svg()
