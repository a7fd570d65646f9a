"""The four blocks of channels, and waves of several frequencies."""

import math

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("The channels of a position", "D / 4 frequencies each, from 1 to 1 / 10,000",
           "row or column"),
    "zh": ("一个位置的各段通道", "各 D / 4 个频率，从 1 到 1 / 10,000", "行号或列号"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, frequencies, axis = WORDS[language]
    drawing = Drawing(title, 270)
    drawing.text(20, 28, title, "bold")
    for index, name in enumerate(("sin(c ω)", "cos(c ω)", "sin(r ω)", "cos(r ω)")):
        style = "glass faint" if index < 2 else "amber faint"
        drawing.box(20 + index * 170, 44, 164, 34, name, style)
    drawing.text(360, 100, frequencies, "quiet middle")
    for number, omega in enumerate((1.0, 0.4, 0.12)):
        base = 136 + number * 46
        points = [(20 + t * 6.8, base - 18 * math.sin(t * omega / 3)) for t in range(100)]
        drawing.parts.append(
            f'<path class="arrow" d="M{" L".join(f"{x:.1f} {y:.1f}" for x, y in points)}"/>'
        )
    drawing.text(360, 262, axis, "quiet middle")
    return drawing.svg()
