"""N keys become k sums."""

from vitrail.learn.drawing import Drawing

WORDS = {
    "en": ("Sums of keys instead of keys", "N x N weights", "N x k weights", "keys", "k sums"),
    "zh": ("用 key 的加权和代替 key", "N x N 个权重", "N x k 个权重", "key", "k 个加权和"),
}


def draw(language: str) -> str:
    """The diagram in a language, as SVG."""
    title, full, low, keys, sums = WORDS[language]
    drawing = Drawing(title, 270)
    drawing.text(20, 28, title, "bold")
    drawing.text(100, 60, keys, "quiet middle")
    drawing.grid(20, 70, 10, 10, 16)
    drawing.text(100, 254, full, "quiet middle")
    drawing.box(250, 130, 90, 38, "E: N x k")
    drawing.arrow((186, 149), (245, 149))
    drawing.arrow((340, 149), (400, 149))
    drawing.text(430, 60, sums, "quiet middle")
    drawing.grid(406, 70, 10, 3, 16, "amber faint")
    drawing.text(430, 254, low, "quiet middle")
    return drawing.svg()
