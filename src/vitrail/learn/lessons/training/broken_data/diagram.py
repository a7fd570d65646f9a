"""The steps of the trainer, in order."""

from vitrail.learn.drawing import program

TITLE = {"en": "From a data set to three normalised sets", "zh": "从数据集到三个归一化后的集合"}
NOTES = {
    "en": (
        "images and labels together",
        "no image on both sides",
        "all three",
        "of the training images alone",
        "all three, alike",
    ),
    "zh": (
        "图像与标签一起",
        "两边没有重复的图",
        "三个集合都做",
        "只用训练图像",
        "三个集合用同样的统计量",
    ),
}
STEPS = ("one permutation", "split 1 : 4", "/ 255", "mean, std", "(x - mean) / std")
REPEATED = (3,)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    return program(TITLE[language], list(zip(STEPS, NOTES[language], strict=True)), REPEATED)
