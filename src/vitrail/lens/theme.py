"""The colours of every figure and page, on light and on dark paper."""

# Stained glass: told apart by the colour-blind too (after Okabe & Ito), each 4.5:1 on its paper.
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


def variables(colours: dict[str, str]) -> str:
    """As CSS variables."""
    return " ".join(f"--{name}: {colour};" for name, colour in colours.items())


def themed(svg: str) -> str:
    """A drawing in `LIGHT` colours that follows the page's theme."""
    for name, colour in LIGHT.items():
        svg = svg.replace(colour, f"var(--{name})")
    return svg
