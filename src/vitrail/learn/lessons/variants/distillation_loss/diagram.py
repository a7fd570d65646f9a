"""Which head learns from whom."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Two heads, two sources of truth", "label", "teacher (convnet, frozen)", "class token",
           "distillation token", "loss = mean of both"),
    "zh": ("两个头，两个监督来源", "真实标签", "教师（卷积网络，冻结）", "class token",
           "蒸馏 token", "损失 = 两者的平均"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, label, teacher, class_token, distillation_token, loss = WORDS[language]
    drawing = Drawing(title, 210)
    drawing.text(20, 28, title, "bold")
    rows = ((60, class_token, "head.cls", label), (130, distillation_token, "head.dist", teacher))
    for top, token, head, source in rows:
        drawing.box(20, top, 150, 38, token, "glass faint")
        drawing.arrow((170, top + 19), (205, top + 19))
        drawing.box(210, top, 100, 38, head)
        drawing.arrow((310, top + 19), (345, top + 19))
        drawing.box(350, top, 60, 38, "CE", "amber faint")
        drawing.arrow((455, top + 19), (415, top + 19))
        drawing.text(462, top + 24, source)
    drawing.text(350, 196, loss, "quiet")
    return drawing.svg()
