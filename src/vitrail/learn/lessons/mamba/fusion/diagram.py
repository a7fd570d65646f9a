"""Four ways to join two directions."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Joining two directions", "forward f", "backward, flipped: b"),
    "zh": ("融合两个方向", "正向 f", "反向，翻回之后：b"),
}
KINDS = (
    ("mean", "(f + b) / 2"),
    ("sum", "f + b"),
    ("gate", "σ(α) f + (1-σ(α)) b"),
    ("concat", "W [f; b]"),
)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, forward, backward = WORDS[language]
    drawing = Drawing(title, 270)
    drawing.text(20, 30, title, "bold")
    drawing.box(20, 80, 190, 38, forward, "glass faint")
    drawing.box(20, 170, 190, 38, backward, "amber faint")
    for row, (kind, formula) in enumerate(KINDS):
        top = 50 + row * 52
        drawing.arrow((210, 99), (250, 99), (250, top + 19), (286, top + 19))
        drawing.arrow((210, 189), (250, 189), (250, top + 19), (286, top + 19))
        drawing.box(290, top, 90, 38, kind)
        drawing.text(400, top + 24, formula, "code")
    return drawing.svg()
