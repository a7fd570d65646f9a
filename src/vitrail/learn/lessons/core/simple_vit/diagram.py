"""ViT and SimpleViT side by side."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("ViT and SimpleViT: what changes", "the same", "+ learned table", "+ sines, cosines"),
    "zh": ("ViT 与 SimpleViT：哪里不同", "相同", "+ 可学习位置表", "+ 正弦余弦"),
}


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, same, table, waves = WORDS[language]
    rows = (
        ("patch_embed", "patch_embed"),
        ("cat(cls, x)", ""),
        (table, waves),
        ("12 x Block", "12 x Block"),
        ("norm", "norm"),
        ("x[:, 0]", "x.mean(dim=1)"),
        ("head", "head"),
    )
    drawing = Drawing(title, 70 + 52 * len(rows))
    drawing.text(20, 30, title, "bold")
    for number, (left, right) in enumerate(rows):
        top = 52 + 52 * number
        style = "card" if left == right else "amber faint"
        drawing.box(40, top, 220, 34, left, style)
        if right:
            drawing.box(400, top, 220, 34, right, style)
        if left == right:
            drawing.text(330, top + 22, same, "quiet middle")
        if number + 1 < len(rows):
            drawing.arrow((150, top + 34), (150, top + 52))
            drawing.arrow((510, top + (34 if right else -18)), (510, top + 52))
    return drawing.svg()
