"""From prompts to the direction of a class, and to logits."""

from vitrail.learn.drawing import flow

TITLE = {
    "en": "Zero-shot, 1000 classes with 80 prompts",
    "zh": "零样本分类：1000 类，每类 80 条提示词",
}
REMARKS = {
    "en": ("features of the texts", "each prompt counts alike", "one vector per class",
           "a direction again", "cosines times about 100"),
    "zh": ("文本特征", "各条提示词权重相同", "每类一个向量", "再次变为方向", "余弦乘以约 100"),
}  # fmt: skip
STEPS = (
    ("prompts", "(1000, 80, 512)"),
    ("normalize", "(1000, 80, 512)"),
    ("mean(dim=1)", "(1000, 512)"),
    ("normalize", "(1000, 512)"),
    ("scale * images @ classes.T", "(B, 1000)"),
)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    steps = [(*step, remark) for step, remark in zip(STEPS, REMARKS[language], strict=True)]
    return flow(TITLE[language], steps)
