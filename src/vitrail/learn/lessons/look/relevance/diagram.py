"""From attention and its gradient to relevance."""

from vitrail.learn.drawing import flow

TITLE = {"en": "Relevance in ViT-Base, for each layer", "zh": "ViT-Base 中每一层的相关性"}
REMARKS = {
    "en": ("attention and its gradient", "what raises the logit", "heads joined", "carried on",
           "class token's row, at the end"),
    "zh": ("注意力与它的梯度", "让 logit 升高的部分", "合并各头", "向后传递",
           "最后取 class token 的行"),
}  # fmt: skip
STEPS = (
    ("A, dA", "(B, 12, 197, 197)"),
    ("(dA * A).clamp(min=0)", "(B, 12, 197, 197)"),
    ("mean(dim=1)", "(B, 197, 197)"),
    ("R = R + mean @ R", "(B, 197, 197)"),
    ("R[:, 0, 1:]", "(B, 196)"),
)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    steps = [(*step, remark) for step, remark in zip(STEPS, REMARKS[language], strict=True)]
    return flow(TITLE[language], steps)
