"""The stages of a model and their shapes as a drawing, in the reader's light or dark theme."""

from collections.abc import Sequence
from html import escape

from vitrail.arguments import checked
from vitrail.lens.shapes import ShapeRow
from vitrail.lens.theme import DARK, LIGHT, css_variables
from vitrail.messages import _

WIDTH, ROW, INDENT, TOP = 760, 26, 22, 74  # pixels

STYLE = f"""<style>
svg {{ {css_variables(LIGHT)} }}
@media (prefers-color-scheme: dark) {{ svg {{ {css_variables(DARK)} }} }}
text {{ font: 13px system-ui, "Microsoft YaHei", sans-serif; fill: var(--ink) }}
.bold {{ font-weight: 600 }} .quiet {{ fill: var(--quiet); font-size: 12px }}
.sizes {{ font-family: ui-monospace, Menlo, Consolas, monospace; font-size: 12px }}
.sheet {{ fill: var(--paper) }} .stage {{ fill: var(--card); stroke: var(--lead) }}
.line {{ stroke: var(--line) }} .bar {{ fill: var(--glass) }}
</style>"""


@checked
def shapes_svg(rows: Sequence[ShapeRow], title: str) -> str:
    """The rows of `shapes` as an SVG.

    Args:
        rows: stages and their parts.
        title: text above them.

    Returns:
        The drawing: a line per row, its shape with the batch, its parameters, and a bar of its
        multiply-adds as a fraction of the total.

    Example:
        >>> from vitrail.lens.shapes import shapes
        >>> model = vitrail.ViT(8, 4, num_classes=2, dim=8, depth=1, heads=2, mlp_dim=8)
        >>> "(1, 5, 8)" in shapes_svg(shapes(model), "ViT")
        True
    """
    total = max((row.multiply_adds for row in rows), default=0) or 1
    height = TOP + ROW * len(rows) + 14
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{escape(title)}">{STYLE}',
        f'<rect class="sheet" width="{WIDTH}" height="{height}"/>',
        f'<text class="bold" x="16" y="28" style="font-size:16px">{escape(title)}</text>',
    ]
    heads = (
        (16, _("stage"), ""),
        (330, _("output"), ""),
        (590, _("parameters"), ' text-anchor="end"'),
        (608, _("multiply-adds"), ""),
    )
    parts += [f'<text class="quiet" x="{x}" y="56"{more}>{text}</text>' for x, text, more in heads]
    for number, row in enumerate(rows):
        y = TOP + ROW * number
        x = 16 + INDENT * (row.level - 1)
        if row.level == 1:
            parts.append(
                f'<rect class="stage" x="8" y="{y}" width="{WIDTH - 16}" '
                f'height="{ROW - 3}" rx="4"/>'
            )
        style = "bold" if row.level == 1 else "quiet"
        parts.append(f'<text class="{style}" x="{x}" y="{y + 16}">{escape(row.name)}</text>')
        sizes = f"({', '.join(map(str, row.sizes))})" if row.sizes else ""
        parts.append(f'<text class="sizes" x="330" y="{y + 16}">{sizes}</text>')
        if row.parameters:
            text = f"{row.parameters:,}"
            parts.append(
                f'<text class="sizes" x="590" y="{y + 16}" text-anchor="end">{text}</text>'
            )
        if row.multiply_adds:
            width = 60 * row.multiply_adds / total
            parts.append(
                f'<rect class="bar" x="608" y="{y + 7}" width="{width:.1f}" height="9" rx="1"/>'
                f'<text class="quiet" x="672" y="{y + 16}">{short(row.multiply_adds)}</text>'
            )
    return "\n".join([*parts, "</svg>\n"])


def short(number: int) -> str:
    """A large number in thousands, millions or billions.

    Args:
        number: at least 0.

    Returns:
        Three digits or so and K, M or G.

    Example:
        >>> short(950), short(17_580_000_000)
        ('950', '17.6 G')
    """
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "K")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return str(number)
