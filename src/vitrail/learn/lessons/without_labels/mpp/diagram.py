"""From a patch to one of 512 classes."""

from vitrail.learn.drawing import flow

TITLE = {"en": "The class of a patch", "zh": "一个 patch 的类别"}
REMARKS = {
    "en": ("pixels, red first", "mean color", "3 bits per channel", "one of 512"),
    "zh": ("像素，先红后绿再蓝", "平均颜色", "每通道 3 比特", "512 类之一"),
}
STEPS = (
    ("patch", "(3 · 16 · 16,)"),
    ("mean", "(0.71, 0.40, 0.06)"),
    ("floor(· 8)", "(5, 3, 0)"),
    ("r + 8 g + 64 b", "29"),
)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    steps = [(*step, remark) for step, remark in zip(STEPS, REMARKS[language], strict=True)]
    return flow(TITLE[language], steps)
