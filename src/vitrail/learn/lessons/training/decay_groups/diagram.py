"""Which parameters are decayed."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Weight decay: what it is for", "decayed", "spared"),
    "zh": ("权重衰减的对象", "衰减", "不衰减"),
}
ROWS = (
    ("patch_embed.weight (768, 3, 16, 16)", 0), ("mlp.weight (3072, 768)", 0),
    ("mlp.bias (3072,)", 1),
    ("norm.weight (768,)", 1), ("cls_token (1, 1, 768)", 1), ("pos_embed (1, 197, 768)", 1),
)  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, decayed, spared = WORDS[language]
    drawing = Drawing(title, 330)
    drawing.text(20, 30, title, "bold")
    for row, (name, is_spared) in enumerate(ROWS):
        top = 48 + row * 46
        drawing.box(20, top, 380, 36, name, "glass faint" if is_spared else "amber faint")
        drawing.text(430, top + 23, spared if is_spared else decayed, "quiet")
    return drawing.svg()
