"""The walk of shapes through scalable self-attention."""

from vitrail.learn.drawing import flow

TITLE = {
    "en": "Scalable attention, stage 1 of ScalableViT-S",
    "zh": "ScalableViT-S 第一阶段的可伸缩注意力",
}
REMARKS = {
    "en": ("D = 64", "wider than x", "fewer: ratio 8", "as wide as q", "keys 80, values 64",
           "2 heads", "as wide as x"),
    "zh": ("D = 64", "比 x 宽", "数量减少：ratio 为 8", "与 q 同宽", "key 80 维，value 64 维",
           "2 个头", "与 x 同宽"),
}  # fmt: skip
STEPS = (
    ("x", "(2, 56, 56, 64)"),
    ("q", "(2, 3136, 80)"),
    ("reduce", "(2, 49, 64)"),
    ("widen, norm, GELU", "(2, 49, 80)"),
    ("kv", "(2, 49, 144)"),
    ("softmax(q kᵀ / √40)", "(2, 2, 3136, 49)"),
    ("@ v, proj", "(2, 56, 56, 64)"),
)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    steps = [(*step, remark) for step, remark in zip(STEPS, REMARKS[language], strict=True)]
    return flow(TITLE[language], steps)
