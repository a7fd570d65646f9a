"""The channels of a token: six parts and a rest."""

from vitrail.learn.drawing import Drawing

TITLE = {"en": "The 64 channels of a position in a volume", "zh": "体数据位置编码的 64 个通道"}
PARTS = ("sin x", "cos x", "sin y", "cos y", "sin z", "cos z")
STYLES = ("glass", "amber", "moss")


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    drawing = Drawing(TITLE[language], 130)
    drawing.text(20, 30, TITLE[language], "bold")
    for number, part in enumerate(PARTS):
        style = f"{STYLES[number // 2]} faint"
        drawing.box(20 + 104 * number, 56, 100, 40, part, style)
        drawing.text(62 + 104 * number, 116, "10", "code")
    drawing.box(644, 56, 56, 40, "0")
    drawing.text(668, 116, "4", "code")
    return drawing.svg()
