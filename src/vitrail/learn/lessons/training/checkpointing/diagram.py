"""What is in memory in the forward and in the backward pass."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Kept for backward, and computed again", "forward: the inputs stay",
           "backward: one block with its inside", "input", "inside"),
    "zh": ("为反向保存的，与重新计算的", "前向：只留下各 block 的输入", "反向：逐个 block 展开",
           "输入", "内部激活"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, forward, backward, kept, inside = WORDS[language]
    drawing = Drawing(title, 300)
    drawing.text(20, 30, title, "bold")
    for row, text in enumerate((forward, backward)):
        top = 76 + row * 110
        drawing.text(20, top - 12, text, "quiet")
        for block in range(5):
            x = 20 + block * 136
            drawing.box(x, top, 18, 52, "", "amber")
            recomputed = row == 1 and block == 3
            style = "glass faint" if recomputed else "card"
            drawing.box(x + 26, top, 92, 52, f"block {block + 1}", style)
    for column, (style, text) in enumerate((("amber", kept), ("glass faint", inside))):
        drawing.box(20 + column * 160, 262, 16, 16, "", style)
        drawing.text(44 + column * 160, 275, text)
    return drawing.svg()
