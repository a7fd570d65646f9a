"""A token that becomes four times wider and narrow again."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("The MLP of ViT-Base, for one token", "2,359,296 weights", "for each token alone"),
    "zh": ("ViT-Base 的 MLP（单个 token）", "2,359,296 个权重", "每个 token 单独计算"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, weights, alone = WORDS[language]
    drawing = Drawing(title, 230)
    drawing.text(20, 28, title, "bold")
    drawing.box(40, 100, 34, 60, "", "glass")
    drawing.text(57, 184, "768", "code middle")
    drawing.arrow((84, 130), (270, 130))
    drawing.text(177, 118, f"fc1: {weights}", "middle")
    drawing.box(280, 50, 34, 160, "", "amber")
    drawing.text(340, 66, "3072", "code")
    drawing.text(340, 135, "GELU", "code")
    drawing.arrow((390, 130), (600, 130))
    drawing.text(495, 118, f"fc2: {weights}", "middle")
    drawing.box(610, 100, 34, 60, "", "glass")
    drawing.text(627, 184, "768", "code middle")
    drawing.text(495, 210, alone, "quiet middle")
    return drawing.svg()
