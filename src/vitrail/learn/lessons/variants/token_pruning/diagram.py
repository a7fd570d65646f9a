"""Tokens, patches and their two ways of counting."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Two ways of counting", "tokens, as gather counts", "patches, as topk counts",
           "the class token has no patch"),
    "zh": ("两种编号", "token 的编号（gather 用）", "图像块的编号（topk 用）",
           "class token 不是图像块"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, tokens, patches, remark = WORDS[language]
    drawing = Drawing(title, 210)
    drawing.text(20, 28, title, "bold")
    for token in range(6):
        style = "amber faint" if token == 0 else "glass faint"
        drawing.box(30 + 64 * token, 60, 56, 36, str(token), style)
        if token:
            drawing.arrow((58 + 64 * token, 130), (58 + 64 * token, 100))
            drawing.box(30 + 64 * token, 134, 56, 36, str(token - 1))
    drawing.text(425, 84, tokens, "quiet")
    drawing.text(425, 158, patches, "quiet")
    drawing.text(30, 198, remark, "quiet")
    return drawing.svg()
