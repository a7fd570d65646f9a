"""The three residual branches of a pair of blocks."""

from vitrail.learn.drawing import flow

TITLE = {"en": "A pair of blocks of Twins-SVT-S, stage 1", "zh": "Twins-SVT-S 第一阶段的一对 block"}
REMARKS = {
    "en": ("map", "64 windows of 7 x 7", "one filter per channel", "49 keys for all cells"),
    "zh": ("特征图", "64 个 7 x 7 的窗口", "每个通道一个卷积核", "全图共用 49 个 key"),
}
STEPS = (
    ("x", "(2, 56, 56, 64)"),
    ("+ local(norm1(x))", "(2, 56, 56, 64)"),
    ("+ conv3x3(x)", "(2, 56, 56, 64)"),
    ("+ global(norm2(x))", "(2, 56, 56, 64)"),
)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    steps = [(*step, remark) for step, remark in zip(STEPS, REMARKS[language], strict=True)]
    return flow(TITLE[language], steps)
