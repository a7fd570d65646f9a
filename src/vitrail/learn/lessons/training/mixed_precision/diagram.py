"""What is in which precision."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Which numbers have how many bits", "float32: must add small updates", "bfloat16: fast",
           "copies"),
    "zh": ("哪些数用多少位", "float32：要能累加小更新", "bfloat16：快", "临时副本"),
}  # fmt: skip
SINGLE = ("weights", "loss", "gradients / S", "optimizer")


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, single, half, copies = WORDS[language]
    drawing = Drawing(title, 250)
    drawing.text(20, 30, title, "bold")
    drawing.text(20, 62, single, "quiet")
    for column, name in enumerate(SINGLE):
        drawing.box(20 + column * 172, 74, 150, 42, name, "glass faint")
        if column:
            drawing.arrow((20 + column * 172 - 20, 95), (20 + column * 172 - 2, 95))
    drawing.text(20, 226, half, "quiet")
    drawing.box(20, 164, 150, 42, copies, "amber faint")
    drawing.box(192, 164, 150, 42, "matmul", "amber faint")
    drawing.arrow((95, 118), (95, 162))
    drawing.arrow((172, 185), (190, 185))
    drawing.arrow((267, 162), (267, 118))
    return drawing.svg()
