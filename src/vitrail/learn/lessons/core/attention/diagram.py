"""The walk of shapes through multi-head attention."""

from vitrail.learn.drawing import flow

TITLE = {
    "en": "Multi-head attention in ViT-Base, batch of 2",
    "zh": "ViT-Base 的多头注意力，batch 为 2",
}
REMARKS = {
    "en": (
        "197 tokens of 768", "2304 = 3 x 768", "12 heads of 64", "q, k, v to the front",
        "rows: queries; columns: keys", "weighted means of v", "heads side by side",
    ),
    "zh": (
        "197 个 token，768 维", "2304 = 3 x 768", "12 个头，每头 64 维", "把 q、k、v 移到最前",
        "行是 query，列是 key", "对 v 加权平均", "各个头并排拼接",
    ),
}  # fmt: skip
STEPS = (
    ("x", "(2, 197, 768)"),
    ("qkv(x)", "(2, 197, 2304)"),
    ("reshape", "(2, 197, 3, 12, 64)"),
    ("permute(2, 0, 3, 1, 4)", "(3, 2, 12, 197, 64)"),
    ("softmax(q kᵀ / √64)", "(2, 12, 197, 197)"),
    ("attn @ v", "(2, 12, 197, 64)"),
    ("transpose, reshape, proj", "(2, 197, 768)"),
)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    steps = [(*step, remark) for step, remark in zip(STEPS, REMARKS[language], strict=True)]
    return flow(TITLE[language], steps)
