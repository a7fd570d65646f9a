"""Maps of the heads, mixed to new maps."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": (
        "Every new map is made of all maps",
        "maps of 3 heads",
        "new maps",
        "norm over the heads",
    ),
    "zh": ("每张新图由所有头的图组合而成", "3 个头的注意力图", "新的注意力图", "沿头归一化"),
}
COLORS = ("glass", "amber", "moss")


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, maps, new, norm = WORDS[language]
    drawing = Drawing(title, 300)
    drawing.text(20, 28, title, "bold")
    drawing.text(20, 58, maps)
    drawing.text(520, 58, new)
    for head, color in enumerate(COLORS):
        top = 74 + 72 * head
        drawing.grid(20, top, 4, 4, 14, f"{color} faint")
        drawing.grid(520, top, 4, 4, 14, "ruby faint")
        for other in range(3):
            drawing.arrow((82, top + 28), (270, 102 + 72 * other))
        drawing.box(276, top + 10, 110, 36, f"theta[:, {head}]")
        drawing.arrow((386, top + 28), (512, top + 28))
    drawing.text(396, 292, norm, "quiet")
    return drawing.svg()
