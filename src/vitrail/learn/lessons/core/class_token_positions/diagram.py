"""A class token in front of the patches, and a row of positions under each."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("The sequence that the encoder reads", "class token", "patches",
           "positions, [1, N + 1, D]",
           "the same for every image"),
    "zh": ("编码器读取的序列", "CLS token", "图像块", "位置编码，[1, N + 1, D]", "对每张图都相同"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, token, patches, positions, same = WORDS[language]
    drawing = Drawing(title, 220)
    drawing.text(20, 28, title, "bold")
    drawing.text(50, 70, token, "middle")
    drawing.text(330, 70, patches, "middle")
    for index in range(8):
        x = 20 + index * 76
        style = "amber" if index == 0 else "glass faint"
        drawing.box(x, 84, 60, 34, "cls" if index == 0 else f"x{index}", style)
        drawing.text(x + 30, 142, "+", "middle")
        drawing.box(x, 154, 60, 34, f"p{index}", "moss faint")
    drawing.text(330, 208, f"{positions}, {same}", "quiet middle")
    return drawing.svg()
