"""The files of the page, which come with the package. No other file is ever served."""

import functools
from importlib.resources import files

from vitrail.lens.theme import DARK, LIGHT, css_variables

SCRIPTS = (
    "codec.js", "text.js", "walk_text.js", "draw.js", "source.js", "page.js", "stage.js",
    "plates.js", "sheet.js", "answers.js", "explain.js", "beside.js", "scan.js", "sentence.js",
    "walk_parts.js", "walk_steps.js", "walk.js", "resample.js", "live.js", "app.js",
)  # fmt: skip
TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "json": "application/json; charset=utf-8",
}
DATA = "<!-- documents -->"  # where the script of an export goes into the page


@functools.cache
def page_files() -> dict[str, bytes]:
    """The files of the page.

    Returns:
        Bytes by name; `index.html` is the page.

    Example:
        >>> sorted(page_files())[:3]
        ['answers.js', 'app.js', 'beside.js']
    """
    folder = files("vitrail.explorer") / "static"
    names = ("index.html", "style.css", *SCRIPTS, "trace.schema.json")
    theme = (
        f":root {{ {css_variables(LIGHT)} }}\n"
        "@media (prefers-color-scheme: dark) { :root:not([data-theme='light']) "
        f"{{ color-scheme: dark; {css_variables(DARK)} }} }}\n"
        f":root[data-theme='dark'] {{ color-scheme: dark; {css_variables(DARK)} }}\n"
    )
    return {name: (folder / name).read_bytes() for name in names} | {"theme.css": theme.encode()}


def content_type(name: str) -> str:
    """The media type of a file of the page.

    Args:
        name: its name.

    Returns:
        The type.

    Example:
        >>> content_type("style.css")
        'text/css; charset=utf-8'
    """
    return TYPES[name.rpartition(".")[2]]
