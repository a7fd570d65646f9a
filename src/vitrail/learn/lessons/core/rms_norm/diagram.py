"""The steps of LayerNorm and of RMSNorm side by side."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": (
        "What RMSNorm leaves out",
        "subtract the mean",
        "divide by the spread",
        "weight",
        "bias",
    ),
    "zh": ("RMSNorm 省去的部分", "减均值", "除以幅度", "权重", "偏置"),
}


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, mean, spread, weight, bias = WORDS[language]
    drawing = Drawing(title, 180)
    drawing.text(20, 28, title, "bold")
    for top, name, skipped in ((50, "LayerNorm", ()), (110, "RMSNorm", (0, 3))):
        drawing.text(20, top + 24, name, "code")
        for index, step in enumerate((mean, spread, weight, bias)):
            style = "card" if index in skipped else "glass faint"
            drawing.box(120 + index * 150, top, 140, 38, "" if index in skipped else step, style)
    return drawing.svg()
