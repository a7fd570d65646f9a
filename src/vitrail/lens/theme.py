"""The colors of every figure and page, for a light and a dark background."""

# Told apart by the color-blind too (after Okabe & Ito), each with a contrast of 4.5:1 or more.
LIGHT = {
    "ink": "#1b2430", "quiet": "#5d6776", "lead": "#8a96a6", "line": "#e3e7ee",
    "paper": "#fbfbfd", "card": "#ffffff",
    "glass": "#1f5fa8", "amber": "#a86400", "ruby": "#b23a48", "moss": "#2a7554",
}  # fmt: skip
DARK = {
    "ink": "#e6eaf1", "quiet": "#9aa4b4", "lead": "#7c8798", "line": "#2b3441",
    "paper": "#11151c", "card": "#1a2029",
    "glass": "#7fb0ea", "amber": "#e9a23b", "ruby": "#f08a96", "moss": "#6cc49b",
}  # fmt: skip


def css_variables(colors: dict[str, str]) -> str:
    """The declarations of CSS variables for a theme.

    Args:
        colors: color by name, such as `LIGHT`.

    Returns:
        One declaration per color, separated by spaces.

    Example:
        >>> css_variables({"ink": "#1b2430"})
        '--ink: #1b2430;'
    """
    return " ".join(f"--{name}: {color};" for name, color in colors.items())


def with_variables(svg: str) -> str:
    """An SVG drawn in `LIGHT` colors whose colors are CSS variables, so that it follows the theme.

    Args:
        svg: the drawing.

    Returns:
        The drawing, each color of `LIGHT` replaced by the variable of its name.

    Example:
        >>> with_variables('<path fill="#1f5fa8"/>')
        '<path fill="var(--glass)"/>'
    """
    for name, color in LIGHT.items():
        svg = svg.replace(color, f"var(--{name})")
    return svg
