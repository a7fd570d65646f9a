"""Replace first, then add positions."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Replace, then add positions", "patches", "with mask tokens", "+ positions"),
    "zh": ("先替换，再加位置编码", "patch", "换上 mask token", "加位置编码"),
}  # fmt: skip
MASKED = (1, 3, 4)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, patches, replaced, positions = WORDS[language]
    drawing = Drawing(title, 230)
    drawing.text(20, 30, title, "bold")
    for row, name in enumerate((patches, replaced, positions)):
        top = 52 + row * 58
        drawing.text(20, top + 24, name)
        for column in range(6):
            masked = column in MASKED
            token = "m" if masked and row else f"p{column}"
            content = f"{token}+{column}" if row == 2 else token
            style = "amber faint" if masked and row else "ruby faint" if masked else "glass faint"
            drawing.box(190 + column * 84, top, 74, 38, content, style)
    return drawing.svg()
