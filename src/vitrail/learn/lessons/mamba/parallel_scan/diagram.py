"""What each position covers after each round."""

from vitrail.learn.drawing import Drawing

TITLE = {"en": "Eight tokens in three rounds", "zh": "8 个 token，三轮完成"}
ROUND = {"en": "after round {}", "zh": "第 {} 轮之后"}
TOKENS = 8


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    drawing = Drawing(TITLE[language], 330)
    drawing.text(20, 30, TITLE[language], "bold")
    for number in range(4):
        top, reach = 50 + number * 70, 2**number
        if number:
            drawing.text(20, top + 24, ROUND[language].format(number), "quiet")
        for token in range(TOKENS):
            x, first = 140 + token * 70, max(token - reach + 1, 0)
            done = "amber faint" if first == 0 else "glass faint"
            cover = str(token) if first == token else f"{first}-{token}"
            drawing.box(x, top, 56, 38, cover, done)
            if number and token >= reach // 2:
                distance = reach // 2 * 70
                drawing.arrow((x + 28 - distance, top - 32), (x + 28, top - 2))
    return drawing.svg()
