"""The shares of the parts, at two sizes."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Multiplications of ViT-Base/16", "projections", "attention's products", "MLPs"),
    "zh": ("ViT-Base/16 的乘法次数", "投影", "注意力的乘积", "MLP"),
}
DIM, DEPTH, WIDTH = 768, 12, 520
STYLES = ("glass faint", "ruby faint", "amber faint")


def parts_of(side: int) -> tuple[int, int, int]:
    """Projections, products of attention and MLPs at a side in pixels."""
    tokens = (side // 16) ** 2 + 1
    return (DEPTH * tokens * 4 * DIM**2, DEPTH * 2 * tokens**2 * DIM, DEPTH * tokens * 8 * DIM**2)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, *names = WORDS[language]
    drawing = Drawing(title, 260)
    drawing.text(20, 30, title, "bold")
    for row, side in enumerate((224, 384, 1024)):
        parts, left = parts_of(side), 170.0
        drawing.text(20, 78 + row * 52, f"{side} px: {sum(parts) / 1e9:.1f} G", "code")
        for part, style in zip(parts, STYLES, strict=True):
            width = part / sum(parts) * WIDTH
            drawing.box(left, 54 + row * 52, width, 38, "", style)
            left += width
    for column, (name, style) in enumerate(zip(names, STYLES, strict=True)):
        drawing.box(170 + column * 180, 216, 20, 20, "", style)
        drawing.text(198 + column * 180, 231, name)
    return drawing.svg()
