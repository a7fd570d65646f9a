"""Eight axes in two groups."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("A video of 4 frames in tubelets of 2 x 4 x 4", "which token", "which number within it"),
    "zh": ("4 帧视频切成 2 x 4 x 4 的 tubelet", "是哪个 token", "是其中的哪个数"),
}
SPLIT = (("B", 0), ("C", 1), ("T/f", 0), ("f", 1), ("H/p", 0), ("p", 1), ("W/p", 0), ("p", 1))
ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, which, within = WORDS[language]
    drawing = Drawing(title, 250)
    drawing.text(20, 30, title, "bold")
    for column, (name, group) in enumerate(SPLIT):
        drawing.box(20 + column * 84, 52, 70, 38, name, "amber faint" if group else "glass faint")
    for column, source in enumerate(ORDER):
        name, group = SPLIT[source]
        drawing.box(20 + column * 84, 162, 70, 38, name, "amber faint" if group else "glass faint")
        drawing.arrow((55 + source * 84, 90), (55 + column * 84, 158))
    drawing.text(20, 226, which, "quiet")
    drawing.text(356, 226, within, "quiet")
    return drawing.svg()
