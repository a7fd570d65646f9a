"""The table of cosines, whose diagonal should win in rows and columns."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("CLIP's table for a batch of 4", "texts", "images", "softmax of each row: which text?",
           "softmax of each column: which image?"),
    "zh": ("batch 为 4 时的图文相似度表", "文本", "图像", "按行 softmax：哪条文本？",
           "按列 softmax：哪张图？"),
}  # fmt: skip
SIDE = 44


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, texts, images, rows, columns = WORDS[language]
    drawing = Drawing(title, 290)
    drawing.text(20, 30, title, "bold")
    drawing.text(130, 64, texts, "quiet")
    drawing.text(20, 170, images, "quiet")
    drawing.grid(130, 76, 4, 4, SIDE)
    for number in range(4):
        drawing.grid(130 + number * SIDE, 76 + number * SIDE, 1, 1, SIDE, "amber")
        drawing.text(100, 104 + number * SIDE, f"I{number}", "code")
        drawing.text(142 + number * SIDE, 268, f"T{number}", "code")
    drawing.arrow((310, 98), (372, 98))
    drawing.text(384, 103, rows)
    drawing.arrow((284, 256), (284, 276), (372, 276))
    drawing.text(384, 281, columns)
    return drawing.svg()
