"""An image, its patches and the sequence of tokens."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("From an image to tokens", "image, 3 x 224 x 224", "14 x 14 patches of 16 x 16",
           "196 tokens of 768 numbers", "convolution, stride 16", "flatten, transpose"),
    "zh": ("从图像到 token 序列", "图像，3 x 224 x 224", "14 x 14 个图像块，每块 16 x 16 像素",
           "196 个 token，每个 768 维", "卷积，步长 16", "展平、转置"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, image, patches, tokens, convolution, flatten = WORDS[language]
    drawing = Drawing(title, 250)
    drawing.text(20, 28, title, "bold")
    drawing.box(20, 60, 140, 140, "", "glass faint")
    drawing.text(90, 226, image, "quiet middle")
    drawing.arrow((170, 130), (290, 130))
    drawing.text(230, 118, convolution, "middle")
    for row in range(7):
        for column in range(7):
            style = "amber" if (row, column) == (1, 2) else "glass faint"
            drawing.box(300 + column * 20, 60 + row * 20, 18, 18, "", style)
    drawing.text(370, 226, patches, "quiet middle")
    drawing.arrow((450, 130), (560, 130))
    drawing.text(505, 118, flatten, "middle")
    for token in range(7):
        drawing.box(580, 60 + token * 20, 110, 16, "", "amber" if token == 3 else "glass faint")
    drawing.text(620, 226, tokens, "quiet middle")
    return drawing.svg()
