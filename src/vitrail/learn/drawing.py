"""The diagrams of lessons, by code, as SVG that follows the reader's light or dark setting."""

from collections.abc import Sequence
from html import escape

from vitrail.lens.theme import DARK, LIGHT, css_variables

WIDTH, MARGIN, ROW = 720, 20, 62

STYLE = f"""<style>
svg {{ {css_variables(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ svg {{ {css_variables(DARK)} }} }}
text {{ font-family: system-ui, "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif;
  fill: var(--ink); font-size: 14px }}
.code {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace }}
.quiet {{ fill: var(--quiet) }} .bold {{ font-weight: 600 }} .middle {{ text-anchor: middle }}
.small {{ font-size: 12px }} .tiny {{ font-size: 10.5px }}
.sheet {{ fill: var(--paper) }} .card {{ fill: var(--card); stroke: var(--lead) }}
.glass {{ fill: var(--glass) }} .amber {{ fill: var(--amber) }} .ruby {{ fill: var(--ruby) }}
.moss {{ fill: var(--moss) }} .faint {{ opacity: 0.35 }}
.arrow {{ stroke: var(--lead); fill: none; stroke-width: 1.5 }}
</style>
<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"
 orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#8a96a6"/></marker></defs>"""


class Drawing:
    """A drawing to which parts are added; coordinates are pixels from the upper left corner.

    Args:
        title: what it shows, for those who cannot see it.
        height: in pixels.
        width: in pixels.

    Example:
        >>> drawing = Drawing("Patches", 100)
        >>> drawing.box(10, 10, 80, 30, "x")
        >>> "<rect" in drawing.svg()
        True
    """

    def __init__(self, title: str, height: float, width: float = WIDTH) -> None:
        self.title, self.height, self.width = title, height, width
        self.parts: list[str] = []

    def text(self, x: float, y: float, content: str, style: str = "") -> None:
        """Adds a line of text.

        Args:
            x: its left edge; with the style "middle", its middle.
            y: its base line.
            content: the text.
            style: classes of `STYLE`, such as "code quiet".
        """
        self.parts.append(f'<text class="{style}" x="{x:g}" y="{y:g}">{escape(content)}</text>')

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        content: str = "",
        style: str = "card",
    ) -> None:
        """Adds a rectangle with a text in its middle.

        Args:
            x: left edge.
            y: upper edge.
            width: in pixels.
            height: in pixels.
            content: the text.
            style: classes of `STYLE`: card, or a color such as glass, with faint for a light one.
        """
        self.parts.append(
            f'<rect class="{style}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" '
            'rx="6"/>'
        )
        if content:
            self.text(x + width / 2, y + height / 2 + 5, content, "code middle")

    def arrow(self, *points: tuple[float, float]) -> None:
        """Adds an arrow through points.

        Args:
            points: x and y of each; the head is at the last.
        """
        path = " L".join(f"{x:g} {y:g}" for x, y in points)
        self.parts.append(f'<path class="arrow" marker-end="url(#head)" d="M{path}"/>')

    def grid(
        self, x: float, y: float, rows: int, columns: int, cell: float, style: str = "glass faint"
    ) -> None:
        """Adds a grid of squares, such as patches or the weights of attention.

        Args:
            x: left edge.
            y: upper edge.
            rows: number of rows.
            columns: number of columns.
            cell: side of a square.
            style: classes of the squares.
        """
        for row in range(rows):
            for column in range(columns):
                self.parts.append(
                    f'<rect class="{style}" x="{x + column * cell:g}" y="{y + row * cell:g}" '
                    f'width="{cell - 2:g}" height="{cell - 2:g}"/>'
                )

    def svg(self) -> str:
        """The drawing as SVG."""
        size = f'viewBox="0 0 {self.width:g} {self.height:g}" width="{self.width:g}"'
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} height="{self.height:g}" role="img">'
            f"\n<title>{escape(self.title)}</title>"
        )
        sheet = f'<rect class="sheet" width="{self.width:g}" height="{self.height:g}" rx="8"/>'
        return "\n".join([head, STYLE, sheet, *self.parts, "</svg>"]) + "\n"


def flow(title: str, steps: Sequence[tuple[str, str, str]]) -> str:
    """A column of steps with arrows: the walk of shapes through a module.

    Args:
        title: what it shows.
        steps: of each the operation, the shape of its result, and a remark.

    Returns:
        An SVG drawing.

    Example:
        >>> "(2, 196, 768)" in flow("Patches", [("conv", "(2, 196, 768)", "")])
        True
    """
    drawing = Drawing(title, MARGIN * 2 + ROW * len(steps) + 14)
    drawing.text(MARGIN, MARGIN + 8, title, "bold")
    for number, (operation, shape, remark) in enumerate(steps):
        top = MARGIN + 24 + number * ROW
        drawing.box(MARGIN, top, 230, 38, operation)
        drawing.text(MARGIN + 246, top + 24, shape, "code")
        drawing.text(MARGIN + 450, top + 24, remark, "quiet")
        if number + 1 < len(steps):
            drawing.arrow((MARGIN + 115, top + 38), (MARGIN + 115, top + ROW))
    return drawing.svg()


def program(title: str, lines: Sequence[tuple[str, str]], repeated: Sequence[int] = ()) -> str:
    """A column of a program's lines, each with a remark beside it.

    Args:
        title: what it shows.
        lines: of each the code and a remark.
        repeated: indices of the lines of an inner loop, which have another color.

    Returns:
        An SVG drawing.

    Example:
        >>> "optimizer.step()" in program("A step", [("optimizer.step()", "once per batch")], [0])
        True
    """
    drawing = Drawing(title, 70 + 46 * len(lines))
    drawing.text(MARGIN, 30, title, "bold")
    for number, (code, remark) in enumerate(lines):
        top = 50 + number * 46
        style = "amber faint" if number in repeated else "glass faint"
        drawing.box(MARGIN, top, 250, 34, code, style)
        drawing.text(290, top + 22, remark, "quiet")
    return drawing.svg()
