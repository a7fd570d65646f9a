"""Which letters are summed, and which meet."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Reading bnd,bmd->bnm", "b in both: the same image", "n and m: every pair of tokens",
           "d, not in the result: summed"),
    "zh": ("读懂 bnd,bmd->bnm", "两边都有 b：同一张图", "n 与 m：每一对 token",
           "结果里没有 d：对它求和"),
}  # fmt: skip


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, *notes = WORDS[language]
    drawing = Drawing(title, 220)
    drawing.text(20, 30, title, "bold")
    letters = ("b", "n", "d", ",", "b", "m", "d", "→", "b", "n", "m")
    styles = {"b": "glass faint", "n": "moss faint", "m": "moss faint", "d": "amber faint"}
    for column, letter in enumerate(letters):
        x = 20 + column * 60
        if letter in styles:
            drawing.box(x, 56, 48, 40, letter, styles[letter])
        else:
            drawing.text(x + 18, 82, letter, "code")
    for row, (letter, note) in enumerate(zip("bnd", notes, strict=True)):
        drawing.box(20, 116 + row * 32, 24, 24, "", styles[letter])
        drawing.text(56, 133 + row * 32, note)
    return drawing.svg()
