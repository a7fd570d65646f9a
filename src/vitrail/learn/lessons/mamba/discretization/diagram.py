"""Axes of what goes into the recurrence."""

from vitrail.learn.drawing import flow

TITLE = {
    "en": "From a token to decay and input (vim_small: D = 768 inner channels, N = 16)",
    "zh": "由 token 得到衰减与写入量（vim_small：内部通道 D = 768，N = 16）",
}
REMARKS = {
    "en": ("step sizes, positive", "negative, a parameter", "between 0 and 1",
           "what enters the states"),
    "zh": ("步长，为正", "为负，是参数", "在 0 与 1 之间", "写入状态的量"),
}  # fmt: skip
STEPS = (
    ("softplus(delta + bias)", "(B, 197, 768)"),
    ("A = -exp(A_log)", "(768, 16)"),
    ("exp(step · A)", "(B, 197, 768, 16)"),
    ("step · u · B", "(B, 197, 768, 16)"),
)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    steps = [(*step, remark) for step, remark in zip(STEPS, REMARKS[language], strict=True)]
    return flow(TITLE[language], steps)
