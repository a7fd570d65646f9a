"""The sequence of DeiT and its two heads."""

from vitrail.learn.drawing import flow

TITLE = {"en": "DeiT-B with a distillation token", "zh": "带蒸馏 token 的 DeiT-B"}
REMARKS = {
    "en": ("196 patches", "class token first, then distillation", "one row per token",
           "as in ViT", "each head reads its token", "in training: both, not averaged"),
    "zh": ("196 个图像块", "class token 在前，蒸馏 token 其次", "每个 token 一行",
           "与 ViT 相同", "每个头读自己的 token", "训练时返回两者，不平均"),
}  # fmt: skip
STEPS = (
    ("patches", "(2, 196, 768)"),
    ("cat", "(2, 198, 768)"),
    ("+ position", "(2, 198, 768)"),
    ("blocks", "(2, 198, 768)"),
    ("head, distillation_head", "2 x (2, 1000)"),
    ("mean", "(2, 1000)"),
)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    steps = [(*step, remark) for step, remark in zip(STEPS, REMARKS[language], strict=True)]
    return flow(TITLE[language], steps)
