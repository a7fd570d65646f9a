"""A state that is carried along the tokens."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("The selective scan", "tokens", "state (D, N)", "outputs"),
    "zh": ("选择性扫描", "token", "状态 (D, N)", "输出"),
}


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, tokens, state, outputs = WORDS[language]
    drawing = Drawing(title, 260)
    drawing.text(20, 30, title, "bold")
    for top, name in ((76, tokens), (146, state), (216, outputs)):
        drawing.text(20, top, name, "quiet")
    drawing.arrow((110, 141), (142, 141))
    drawing.text(112, 132, "0", "code")
    for t in range(4):
        x = 146 + t * 140
        drawing.box(x, 52, 60, 36, f"u{t}", "glass faint")
        drawing.arrow((x + 30, 88), (x + 30, 120))
        drawing.text(x + 36, 110, "Δ B", "code")
        drawing.box(x, 122, 60, 38, f"h{t}", "amber faint")
        drawing.arrow((x + 30, 160), (x + 30, 192))
        drawing.text(x + 36, 182, "C", "code")
        drawing.box(x, 194, 60, 36, f"y{t}")
        if t < 3:
            drawing.arrow((x + 60, 141), (x + 138, 141))
            drawing.text(x + 64, 132, "exp(Δ A)", "code")
    return drawing.svg()
