"""The two exchanges between heads."""

from vitrail.learn.drawing import flow

TITLE = {"en": "Talking heads in CaiT-S, batch of 2", "zh": "CaiT-S 的 talking heads，batch 为 2"}
REMARKS = {
    "en": ("8 heads, each by itself", "the heads mix logits", "over the keys",
           "the heads mix weights", "rows need not sum to 1"),
    "zh": ("8 个头各自计算", "各头混合 logits", "沿 key 归一化", "各头混合权重", "行和不必为 1"),
}  # fmt: skip
STEPS = (
    ("q kᵀ / √48", "(2, 8, 196, 196)"),
    ("before: 8 -> 8", "(2, 8, 196, 196)"),
    ("softmax", "(2, 8, 196, 196)"),
    ("after: 8 -> 8", "(2, 8, 196, 196)"),
    ("@ v", "(2, 8, 196, 48)"),
)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    steps = [(*step, remark) for step, remark in zip(STEPS, REMARKS[language], strict=True)]
    return flow(TITLE[language], steps)
