"""The walk of shapes from an image to tokens, by reshaping."""

from vitrail.learn.drawing import flow

TITLE = {"en": "Cutting by reshape and permute", "zh": "用 reshape 和 permute 切块"}
REMARKS = {
    "en": ("ViT-Base, batch of 2", "14 x 14 patches of 16 x 16", "grid first, pixels last",
           "768 = 3 x 16 x 16", "by chance 768, too"),
    "zh": ("ViT-Base，batch 为 2", "14 x 14 块，每块 16 x 16", "网格在前，像素在后",
           "768 = 3 x 16 x 16", "恰好也是 768"),
}  # fmt: skip
STEPS = (
    ("images", "(2, 3, 224, 224)"),
    ("reshape", "(2, 3, 14, 16, 14, 16)"),
    ("permute(0, 2, 4, 1, 3, 5)", "(2, 14, 14, 3, 16, 16)"),
    ("reshape", "(2, 196, 768)"),
    ("proj", "(2, 196, 768)"),
)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    steps = [(*step, remark) for step, remark in zip(STEPS, REMARKS[language], strict=True)]
    return flow(TITLE[language], steps)
