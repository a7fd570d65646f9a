"""The walk of shapes through ViT-Base."""

from vitrail.learn.drawing import flow

TITLE = {"en": "ViT-Base, batch of 2", "zh": "ViT-Base，batch 为 2"}
REMARKS = {
    "en": (
        "",
        "590,592 parameters",
        "152,064",
        "12 x 7,087,872",
        "1,536",
        "class token",
        "769,000",
    ),
    "zh": ("", "590,592 个参数", "152,064", "12 x 7,087,872", "1,536", "CLS token", "769,000"),
}
STEPS = (
    ("images", "(2, 3, 224, 224)"),
    ("patch_embed", "(2, 196, 768)"),
    ("tokens", "(2, 197, 768)"),
    ("block x 12", "(2, 197, 768)"),
    ("norm", "(2, 197, 768)"),
    ("x[:, 0]", "(2, 768)"),
    ("head", "(2, 1000)"),
)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    steps = [(*step, remark) for step, remark in zip(STEPS, REMARKS[language], strict=True)]
    return flow(TITLE[language], steps)
